//! The host of WASI component plugins: loading, limits, calls, replay, error policy.
