//! Tells the source which OpenSSL it is compiled against. Before 3.0 there are
//! no keys of algorithms that have a name and no number, and no key
//! encapsulation; before 3.5 no ML-KEM, which only tests need to know here.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // What openssl-sys has found; LibreSSL tells another variable.
    let version = std::env::var("DEP_OPENSSL_VERSION_NUMBER").unwrap_or_default();
    let version = u64::from_str_radix(&version, 16).unwrap_or(0);
    for (name, first) in [("ossl300", 0x3000_0000), ("ossl350", 0x3050_0000)] {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if version >= first {
            println!("cargo::rustc-cfg={name}");
        }
    }
}
