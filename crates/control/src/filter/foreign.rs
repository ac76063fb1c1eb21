//! Words of other filters, and what they are called here: who comes from nftables, iptables, tcpdump or a router's
//! command line writes them first.

/// What to write in place of a term that other languages know; `None` for a word that is nobody's.
pub(super) fn help(word: &str) -> Option<&'static str> {
    Some(match word {
        "saddr" | "src" | "from" | "s" => "here it is `source PREFIX`",
        "daddr" | "dst" | "to" | "d" => "here it is `destination PREFIX`",
        "ip" | "inet" => "here it is `ipv4`; addresses stand behind `source` and `destination`",
        "ip6" | "inet6" => "here it is `ipv6`; addresses stand behind `source` and `destination`",
        "sport" | "sports" => "here it is `source-port`",
        "dport" | "dports" => "here it is `destination-port`",
        "port" | "th" | "eq" => "here it is `source-port` or `destination-port`",
        "l4proto" | "nexthdr" | "proto" => {
            "here it is `tcp`, `udp`, `icmp`, `icmpv6`, or `protocol NAME`"
        }
        "icmp6" | "ipv6-icmp" => "here it is `icmpv6`",
        "type" => "here it is `icmp-type`",
        "code" => "here it is `icmp-code`",
        "flags" => "here it is `tcp-flags`",
        "ct" | "ctstate" | "conntrack" | "stateful" => "here it is `state {established, related}`",
        "related" | "new" | "invalid" => "write `state` in front of it",
        "established" => {
            "here it is `state established`, or `tcp tcp-flags ack` without connections"
        }
        "hoplimit" | "hop-limit" => "here it is `ttl`, for IPv6 too",
        "tos" | "diffserv" => "here it is `dscp`",
        "frag" | "frag-off" | "fragments" => "here it is `fragment {first, later}`",
        "flowlabel" => "here it is `flow-label`",
        "iif" | "iifname" | "in-interface" | "i" => {
            "here it is `input PORT`, the name of a [[port]]"
        }
        "oif" | "oifname" | "out-interface" | "o" => {
            "a filter stands at an output: name it as `filter_out` of that [[port]]"
        }
        "meta" | "mark" | "fwmark" => "leave it out: packets have no marks here",
        "ether" | "mac" => "leave it out: MAC addresses are not matched",
        "accept" | "permit" | "allow" | "pass" => "write action = \"accept\" beside the match",
        "drop" | "deny" | "block" => "write action = \"drop\" beside the match",
        "reject" => "write action = \"reject\" beside the match",
        "jump" | "goto" | "return" => "leave it out: there are no chains, a filter is one list",
        "counter" => "leave it out: each rule counts, see `linecard show filters`",
        "limit" | "rate" | "meter" => {
            "write police = \"NAME\" beside the match, and a [[police]] of that name"
        }
        "log" => "write log = true beside the match",
        _ => return None,
    })
}
