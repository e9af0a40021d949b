//! See [`armory_fuzz::components::component`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| armory_fuzz::components::component(bytes));
