//! The code generated from `proto/payments.proto` is that of the file as it is now.
//!
//! `UPDATE_PROTO=1 cargo test -p pay proto` writes it anew.

use std::path::Path;

#[test]
fn the_generated_code_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(["payments.proto"], [root.join("proto")]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .out_dir(folder.path())
        .compile_fds(descriptors)
        .unwrap();
    let name = "fooddelivery.pay.v1.rs";
    let generated = std::fs::read_to_string(folder.path().join(name)).unwrap();
    let kept = root.join("src/adapters/grpc").join(name);
    if std::env::var_os("UPDATE_PROTO").is_some_and(|value| value == "1") {
        std::fs::write(&kept, &generated).unwrap();
    }
    assert!(
        std::fs::read_to_string(&kept).unwrap() == generated,
        "{} is not what proto/payments.proto says: UPDATE_PROTO=1 cargo test -p pay proto",
        kept.display()
    );
}
