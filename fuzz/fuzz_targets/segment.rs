//! See [`armory_fuzz::archive::segment`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| armory_fuzz::archive::segment(bytes));
