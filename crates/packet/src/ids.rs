//! Small numbers that name things inside the packet path; names and indexes of the kernel stay in
//! `control`.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($repr:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $repr);

        impl $name {
            /// The number as a slice index.
            #[must_use]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// A port that Linecard serves, numbered from 0 in the order of the configuration.
    PortId(u16)
}
id! {
    /// A layer-3 interface: a port's untagged side or one of its VLANs, numbered from 0.
    InterfaceId(u16)
}
id! {
    /// An adjacency (neighbour slot): the link-layer rewrite for one neighbour on one interface.
    AdjacencyId(u32)
}
