;; The plugin of the quick start: removes every header named "secret", and accepts the record.
;;
;; It stands here in WebAssembly text so that `armory quickstart` needs no toolchain. Plugins are written in Rust, Python, Go or
;; JavaScript; guests/rust/drop-header is this one in Rust, with the header's name taken from its configuration.
;;
;; A record comes in as 15 flat values (key, headers, partition, offset, timestamp, payload) and goes out as an outcome in memory; both
;; follow the canonical ABI of the component model. A header takes 20 bytes: name (address, length), whether it has a value, value (address,
;; length). Those that stay are moved to the front of the list.
(module
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))

  ;; Hands out memory from a bump allocator that is emptied after every call.
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32) (local $end i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (local.set $end (i32.add (local.get $at) (local.get $size)))
    (block $enough
      (br_if $enough (i32.le_u (local.get $end) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $enough (i32.ne (i32.const -1)
        (memory.grow (i32.add (i32.const 1)
          (i32.shr_u (i32.sub (local.get $end) (i32.mul (memory.size) (i32.const 65536))) (i32.const 16))))))
      unreachable)
    (global.set $heap (local.get $end))
    (local.get $at))
  (func (export "cabi_post_init") (param i32) (global.set $heap (i32.const 65536)))
  (func (export "cabi_post_transform") (param i32) (global.set $heap (i32.const 65536)))

  ;; init(topic, configuration): ok
  (func (export "init") (param i32 i32 i32 i32 i32) (result i32)
    (i32.store8 (i32.const 2048) (i32.const 0))
    (i32.const 2048))

  ;; Whether the name of the header at $at is "secret": 0x72636573 is "secr", 0x7465 is "et".
  (func $is_secret (param $at i32) (result i32)
    (local $name i32)
    (local.set $name (i32.load (local.get $at)))
    (if (result i32) (i32.eq (i32.load offset=4 (local.get $at)) (i32.const 6))
      (then (i32.and
        (i32.eq (i32.load (local.get $name)) (i32.const 0x72636573))
        (i32.eq (i32.load16_u offset=4 (local.get $name)) (i32.const 0x7465))))
      (else (i32.const 0))))

  ;; Moves the headers that stay to the front; how many there are.
  (func $keep (param $headers i32) (param $count i32) (result i32)
    (local $from i32) (local $to i32) (local $end i32)
    (local.set $from (local.get $headers))
    (local.set $to (local.get $headers))
    (local.set $end (i32.add (local.get $headers) (i32.mul (local.get $count) (i32.const 20))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $from) (local.get $end)))
        (if (i32.eqz (call $is_secret (local.get $from)))
          (then
            (memory.copy (local.get $to) (local.get $from) (i32.const 20))
            (local.set $to (i32.add (local.get $to) (i32.const 20)))))
        (local.set $from (i32.add (local.get $from) (i32.const 20)))
        (br $next)))
    (i32.div_u (i32.sub (local.get $to) (local.get $headers)) (i32.const 20)))

  ;; transform(record): accepted(record)
  (func (export "transform")
    (param $has_key i32) (param $key i32) (param $key_length i32)
    (param $headers i32) (param $header_count i32)
    (param $has_partition i32) (param $partition i32)
    (param $has_offset i32) (param $offset i64)
    (param $has_timestamp i32) (param $timestamp_kind i32) (param $time i64)
    (param $has_payload i32) (param $payload i32) (param $payload_length i32)
    (result i32)
    (i32.store8 (i32.const 2048) (i32.const 0))
    (i32.store8 (i32.const 2056) (local.get $has_key))
    (i32.store (i32.const 2060) (local.get $key))
    (i32.store (i32.const 2064) (local.get $key_length))
    (i32.store (i32.const 2068) (local.get $headers))
    (i32.store (i32.const 2072) (call $keep (local.get $headers) (local.get $header_count)))
    (i32.store8 (i32.const 2076) (local.get $has_partition))
    (i32.store (i32.const 2080) (local.get $partition))
    (i32.store8 (i32.const 2088) (local.get $has_offset))
    (i64.store (i32.const 2096) (local.get $offset))
    (i32.store8 (i32.const 2104) (local.get $has_timestamp))
    (i32.store8 (i32.const 2112) (local.get $timestamp_kind))
    (i64.store (i32.const 2120) (local.get $time))
    (i32.store8 (i32.const 2128) (local.get $has_payload))
    (i32.store (i32.const 2132) (local.get $payload))
    (i32.store (i32.const 2136) (local.get $payload_length))
    (i32.const 2048)))
