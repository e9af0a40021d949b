//! Starts the real parts that tests need: Apache Kafka, an S3 server, built guests, Kafka's own clients.
