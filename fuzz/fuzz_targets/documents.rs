//! See [`armory_fuzz::archive::documents`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| armory_fuzz::archive::documents(bytes));
