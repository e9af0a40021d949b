//! The kannika.io/v1alpha resources as types, and the pure rules that turn them into jobs.
