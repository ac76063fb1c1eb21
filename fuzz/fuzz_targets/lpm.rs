//! Longest-prefix match: the fast table against its plain twin, singly and in bulk. The first byte
//! chooses IPv4 or IPv6 (0x01), and whether the contents are listed (0x02), which takes longest.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linecard_fuzz::input::Input;
use linecard_tables::lpm::{Address, Lpm, LpmImplementation, Prefix};

const OPERATIONS_MAX: usize = 512;

/// An address one bit from the last one, so that prefixes nest and share nodes, or any address.
fn address<A: Address>(input: &mut Input<'_>, last: A) -> A {
    match input.u8() {
        0xff => input.address(),
        bit => last ^ A::from_bits_at(1, bit % A::BITS, 1),
    }
}

/// The address itself, the first and the last of the prefix, and the ones on either side of it.
fn around<A: Address>(prefix: Prefix<A>, address: A) -> [A; 5] {
    let last_bit = A::from_bits_at(1, A::BITS - 1, 1);
    let last = prefix.bits() | (A::mask(prefix.length()) ^ A::mask(A::BITS));
    let beside = match prefix.length() {
        0 => last,
        length => last ^ A::from_bits_at(1, length - 1, 1),
    };
    [address, prefix.bits(), last, beside, prefix.bits() ^ last_bit]
}

fn compare_bulk<A: Address>([table, twin]: &[Lpm<A>; 2], addresses: &[A]) {
    let mut values = vec![77; addresses.len()];
    table.lookup_bulk(addresses, &mut values);
    for (address, value) in addresses.iter().zip(values) {
        assert_eq!(value, twin.lookup(*address), "bulk, {:?}", Prefix::host(*address));
    }
}

fn replay<A: Address>(input: &mut Input<'_>, list: bool) {
    let routes_max = 1 + input.below(64) as usize;
    let both = [LpmImplementation::Multibit, LpmImplementation::Sorted];
    let mut pair: [Lpm<A>; 2] = both.map(|implementation| Lpm::new(implementation, routes_max));
    let (mut last, mut addresses) = (A::default(), Vec::new());
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        let operation = input.u8();
        last = address(input, last);
        let length = input.u8() % (A::BITS + 1);
        let prefix = Prefix::new(last, length).expect("the length is in range");
        if operation < 160 {
            let value = u32::from(operation % 8);
            let [answer, expected] = pair.each_mut().map(|lpm| lpm.insert(prefix, value));
            assert_eq!(answer, expected, "insert {prefix:?} {value}");
        } else {
            let [answer, expected] = pair.each_mut().map(|lpm| lpm.remove(prefix));
            assert_eq!(answer, expected, "remove {prefix:?}");
        }
        let [table, twin] = &pair;
        assert_eq!(table.get(prefix), twin.get(prefix), "get {prefix:?}");
        assert_eq!(table.len(), twin.len());
        for address in around(prefix, last) {
            assert_eq!(table.lookup(address), twin.lookup(address), "{:?}", Prefix::host(address));
            addresses.push(address);
        }
    }
    let [table, twin] = &pair;
    assert!(!list || table.iter().eq(twin.iter()), "contents or their order differ");
    compare_bulk(&pair, &addresses);
    let prefixes: Vec<_> = twin.iter().map(|(prefix, _)| prefix).collect();
    for prefix in prefixes {
        let [answer, expected] = pair.each_mut().map(|lpm| lpm.remove(prefix));
        assert_eq!(answer, expected, "remove {prefix:?}");
    }
    assert!(pair[0].is_empty());
    compare_bulk(&pair, &addresses);
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let kind = input.u8();
    match kind & 1 {
        0 => replay::<u32>(&mut input, kind & 2 != 0),
        _ => replay::<u128>(&mut input, kind & 2 != 0),
    }
});
