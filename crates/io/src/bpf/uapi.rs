//! The kernel's numbers that more than one program uses, by the kernel's names.

// Helpers: enum bpf_func_id, linux/bpf.h.

/// `bpf_map_lookup_elem`.
pub const MAP_LOOKUP: i32 = 1;
/// `bpf_tail_call`.
pub const TAIL_CALL: i32 = 12;
/// `bpf_redirect`.
pub const REDIRECT: i32 = 23;
/// `bpf_redirect_map`.
pub const REDIRECT_MAP: i32 = 51;
/// `bpf_xdp_adjust_tail`.
pub const XDP_ADJUST_TAIL: i32 = 65;
/// `bpf_xdp_get_buff_len`.
pub const XDP_GET_BUFF_LEN: i32 = 188;

// Verdicts: enum xdp_action, enum tcx_action_base, linux/bpf.h.

/// Drop the frame.
pub const XDP_DROP: i32 = 1;
/// Leave the frame to the kernel.
pub const XDP_PASS: i32 = 2;
/// Send the frame by another port.
pub const XDP_REDIRECT: i32 = 4;
/// Drop the socket buffer.
pub const TCX_DROP: i32 = 2;

// Offsets in `struct xdp_md` and `struct __sk_buff`, linux/bpf.h.

/// `data` of an XDP frame.
pub const XDP_DATA: i16 = 0;
/// `data_end` of an XDP frame.
pub const XDP_DATA_END: i16 = 4;
/// `len` of a socket buffer.
pub const SKB_LEN: i16 = 0;

/// `XDP_FLAGS_DRV_MODE`, linux/if_link.h: attach in the driver.
pub const XDP_FLAGS_NATIVE: u32 = 1 << 2;
