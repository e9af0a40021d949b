//! What backup and restore need of the Kafka protocol: connections, metadata, fetch, produce, admin.
