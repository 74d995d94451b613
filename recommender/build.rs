//! Lets binaries and tests find libtorch without environment variables.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // torch-sys has `links = "tch"` and tells its direct dependents where libtorch is.
    if let Some(lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.to_string_lossy());
    }
}
