//! `include/semid.h` is what this crate's source says: `UPDATE_HEADER=1` writes it anew.

use std::path::Path;
use std::{env, fs};

use cbindgen::{
    Builder, Config, DocumentationStyle, EnumConfig, ExportConfig, Language, RenameRule, Style,
};

/// In the order in which a reader wants them.
const MODULES: [&str; 10] = [
    "status", "index", "cursor", "tokens", "filter", "mask", "session", "scorer", "search", "step",
];
/// Those that export nothing.
const INNER: [&str; 3] = ["lib", "handle", "memory"];

const MANUAL: &str = "\
/* semid: generation that can only produce real items.
 *
 * An index file (made by the command `semid index`) gives each item of a catalogue a semantic ID, a
 * few codes. This library keeps a model inside the set of real items:
 *
 *   semid_index_*, semid_cursor_*   which items there are, and which codes may follow which
 *   semid_tokens_*                  which token of the model stands for which code
 *   semid_filter_*                  which items one request may be given
 *   semid_mask_*                    which tokens a sampler may draw
 *   semid_session_*                 masks and items for a server that owns the loop
 *   semid_search                    the best items, for a model that is a function
 *   semid_step                      one level of that, for a loop of your own
 *
 * Rules for all functions:
 *
 * - They return a SemidStatus; semid_error_message() says more. A call that fails has done nothing
 *   but set masks and lengths. No call crashes on null pointers, closed handles or wrong sizes.
 * - Handles are tickets. Each one that was opened is to be closed, in any order; what was made of a
 *   handle lives on without it. All may be used by many threads at once; calls on one session wait
 *   for each other.
 * - Structs that begin with `struct_size` may grow: set it to sizeof, and all else to 0 but for what
 *   you mean. Programs that were compiled before keep working.
 * - Lists go into an array of the caller: `capacity` is how many it can hold, `*length` becomes how
 *   many there are. If that is more, nothing is written and SEMID_STATUS_CAPACITY returned, so that
 *   NULL and 0 ask for the length.
 * - Items are numbered from 0 in the order of the index, levels and codes from 0.
 *
 * Made by cbindgen from bindings/c/src; see bindings/c/README.md.
 */";

/// As `tokens::NONE`; a macro's name is not that of a type.
const NONE: &str = "\n// Stands for no token, and no row.\n#define SEMID_NONE UINT32_MAX";

#[test]
fn the_committed_header_is_that_of_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(root.join("src")).expect("the source").count();
    assert_eq!(files, MODULES.len() + INNER.len(), "a module is not listed");

    let mut header = Builder::new().with_config(config());
    for module in MODULES {
        header = header.with_src(root.join(format!("src/{module}.rs")));
    }
    let mut text = Vec::new();
    header.generate().expect("C").write(&mut text);
    let text = String::from_utf8(text).expect("UTF-8");

    let path = root.join("include/semid.h");
    if env::var_os("UPDATE_HEADER").is_some() {
        fs::write(path, text).expect("written");
        return;
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == text,
        "include/semid.h is stale; UPDATE_HEADER=1 makes it anew"
    );
}

fn config() -> Config {
    Config {
        language: Language::C,
        cpp_compat: true,
        header: Some(MANUAL.to_owned()),
        include_guard: Some("SEMID_H".to_owned()),
        no_includes: true,
        sys_includes: ["stddef.h", "stdint.h"].map(str::to_owned).to_vec(),
        after_includes: Some(NONE.to_owned()),
        usize_is_size_t: true,
        style: Style::Type,
        line_length: 100,
        documentation_style: DocumentationStyle::C99,
        enumeration: EnumConfig {
            rename_variants: RenameRule::QualifiedScreamingSnakeCase,
            ..EnumConfig::default()
        },
        export: ExportConfig {
            prefix: Some("Semid".to_owned()),
            include: ["Normalizer", "LogitType", "Columns"]
                .map(str::to_owned)
                .to_vec(),
            exclude: vec!["NONE".to_owned()],
            ..ExportConfig::default()
        },
        ..Config::default()
    }
}
