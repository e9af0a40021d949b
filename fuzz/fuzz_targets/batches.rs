//! See [`armory_fuzz::batches::batches`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| armory_fuzz::batches::batches(bytes));
