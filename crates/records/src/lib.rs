//! Kafka RecordBatch v2 as bytes: borrowed views, CRC, codecs, encoding and the rewrites that produce needs.
