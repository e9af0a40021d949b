//! Backup and restore pipelines: fetch, transform, archive; read, transform, produce.
