//! A network namespace with a wire in it: the veth pair `near` and `far`.

use std::process::Command;

/// Runs `test` in a thread with a network namespace of its own, which ends with the thread.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test makes a network namespace: run it as root"
    );
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
        ip(
            "link add near address 02:00:00:00:00:01 numrxqueues 2 numtxqueues 2 type veth peer name far address 02:00:00:00:00:02 numrxqueues 2 numtxqueues 2",
        );
        for end in ["near", "far"] {
            // Without a link-local address nobody sends neighbour discovery into the test.
            ip(&format!("link set {end} addrgenmode none"));
            ip(&format!("link set {end} up"));
        }
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs ip(8) in the calling thread's namespace.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.expect("the tests need `ip`: install iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
