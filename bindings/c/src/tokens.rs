//! Which token of a model stands for which code.

use std::mem::MaybeUninit;
use std::sync::Arc;

use semantic_id::Code;
use trie_decode::TokenMap;

use crate::handle::Table;
use crate::index::{INDEXES, Index};
use crate::memory;
use crate::status::{Failure, Result, Status, guard};

/// The tokens of a model that stand for the codes of an index.
#[derive(Debug)]
pub struct Tokens(pub(crate) Arc<TokenMap>);

pub(crate) static TOKENS: Table<Tokens> = Table::new("tokens");

/// Stands for no token, and no row.
pub const NONE: u32 = u32::MAX;

/// The token of code `c` of level `l` is `firsts[l] + c`. `vocabulary` is the width of the model's
/// logits, which may be more than the tokenizer has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_tokens_ranges(
    index: *const Index,
    firsts: *const u32,
    levels: usize,
    vocabulary: usize,
    tokens: Option<&mut MaybeUninit<*const Tokens>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(index)?;
        // SAFETY: the caller's promise.
        let firsts = unsafe { memory::array("firsts", firsts, levels) }?;
        give(
            TokenMap::ranges(index.0.space(), firsts, vocabulary)?,
            tokens,
        )
    })
}

/// The token of each code, level after level: as many as `semid_index_sizes` sums to. Codes that
/// no item has may have `SEMID_NONE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_tokens_table(
    index: *const Index,
    table: *const u32,
    length: usize,
    vocabulary: usize,
    tokens: Option<&mut MaybeUninit<*const Tokens>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(index)?;
        // SAFETY: the caller's promise.
        let mut rest = unsafe { memory::array("table", table, length) }?;
        let space = index.0.space();
        let codes: usize = (0..space.levels()).map(|level| space.size(level)).sum();
        if length != codes {
            let message = format!("table: got {length} tokens, expected {codes}, one a code");
            return Err(Failure::argument(message));
        }
        let mut tables = Vec::with_capacity(space.levels());
        for level in 0..space.levels() {
            let (table, beyond) = rest.split_at(space.size(level));
            let token = |&token: &u32| (token != NONE).then_some(token);
            tables.push(table.iter().map(token).collect());
            rest = beyond;
        }
        let map = TokenMap::table(space, tables, vocabulary)?;
        map.check(&index.0)?;
        give(map, tokens)
    })
}

/// The tokens that the index spells (such as `<a_12>`), as a Hugging Face `tokenizer.json` of
/// `length` bytes numbers them, and those before and after an ID.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn semid_tokens_of_tokenizer(
    index: *const Index,
    json: *const u8,
    length: usize,
    vocabulary: usize,
    tokens: Option<&mut MaybeUninit<*const Tokens>>,
) -> Status {
    guard(|| {
        let index = INDEXES.get(index)?;
        // SAFETY: the caller's promise.
        let json = unsafe { memory::array("json", json, length) }?;
        let format = index.file().token_format();
        give(
            TokenMap::from_tokenizer(json, format, &index.0, vocabulary)?,
            tokens,
        )
    })
}

/// The same tokens with one before and one after each semantic ID, or `SEMID_NONE`. A new
/// handle.
#[unsafe(no_mangle)]
pub extern "C" fn semid_tokens_between(
    tokens: *const Tokens,
    begin: u32,
    end: u32,
    between: Option<&mut MaybeUninit<*const Tokens>>,
) -> Status {
    guard(|| {
        let map = TokenMap::clone(&TOKENS.get(tokens)?.0);
        let token = |token| (token != NONE).then_some(token);
        give(map.between(token(begin), token(end))?, between)
    })
}

/// Closes tokens; null is fine.
#[unsafe(no_mangle)]
pub extern "C" fn semid_tokens_close(tokens: *const Tokens) -> Status {
    guard(|| TOKENS.close(tokens))
}

/// Tells the token of a code; `SEMID_STATUS_NOT_FOUND` if it has none.
#[unsafe(no_mangle)]
pub extern "C" fn semid_tokens_token(
    tokens: *const Tokens,
    level: usize,
    code: u16,
    token: Option<&mut MaybeUninit<u32>>,
) -> Status {
    guard(|| {
        let found = TOKENS.get(tokens)?.0.token(level, Code(code));
        let none = || format!("code {code} of level {level} has no token");
        let found = found.ok_or_else(|| Failure::new(Status::NotFound, none()))?;
        memory::needed("token", token)?.write(found);
        Ok(())
    })
}

/// Tells the code that a token stands for at a level; `SEMID_STATUS_NOT_FOUND` if for none.
#[unsafe(no_mangle)]
pub extern "C" fn semid_tokens_code(
    tokens: *const Tokens,
    level: usize,
    token: u32,
    code: Option<&mut MaybeUninit<u16>>,
) -> Status {
    guard(|| {
        let found = TOKENS.get(tokens)?.0.code(level, token);
        let none = || format!("token {token} is no code of level {level}");
        let found = found.ok_or_else(|| Failure::new(Status::NotFound, none()))?;
        memory::needed("code", code)?.write(found.0);
        Ok(())
    })
}

fn give(map: TokenMap, to: Option<&mut MaybeUninit<*const Tokens>>) -> Result<()> {
    let to = memory::needed("tokens", to)?;
    to.write(TOKENS.open(Tokens(Arc::new(map))));
    Ok(())
}
