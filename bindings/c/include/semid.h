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
 */

#ifndef SEMID_H
#define SEMID_H

#include <stddef.h>
#include <stdint.h>

// Stands for no token, and no row.
#define SEMID_NONE UINT32_MAX

// How a call ended. On anything but `SEMID_STATUS_OK` it has done nothing.
typedef enum {
  // Done.
  SEMID_STATUS_OK = 0,
  // A pointer is null where it must not be.
  SEMID_STATUS_NULL = 1,
  // A handle was closed, or is none of its type.
  SEMID_STATUS_CLOSED = 2,
  // An argument that cannot be, or does not go with the others.
  SEMID_STATUS_ARGUMENT = 3,
  // There is no such key, item, rank, node or beam.
  SEMID_STATUS_NOT_FOUND = 4,
  // An array is too short for what it was to hold.
  SEMID_STATUS_CAPACITY = 5,
  // A file cannot be read.
  SEMID_STATUS_FILE = 6,
  // The index is damaged; the message says where.
  SEMID_STATUS_DAMAGED = 7,
  // A token that the mask does not allow.
  SEMID_STATUS_FORBIDDEN = 8,
  // The scorer said that it failed.
  SEMID_STATUS_SCORER = 9,
  // The scorer gave logits that are none: NaN, infinitely large, or all `-inf`.
  SEMID_STATUS_LOGITS = 10,
  // A fault of this library. Please report it.
  SEMID_STATUS_PANIC = 11,
} SemidStatus;

// Where a beam is.
typedef enum {
  // In free text, before the trigger; every token may come.
  SEMID_PHASE_INACTIVE = 0,
  // In an item.
  SEMID_PHASE_ACTIVE = 1,
  // Behind an item; only end tokens may come.
  SEMID_PHASE_DONE = 2,
} SemidPhase;

// Over which tokens the probabilities of a step sum to one. None depends on a filter.
typedef enum {
  // All tokens of the model, as a log-softmax and then the mask have it.
  SEMID_NORMALIZER_FULL_VOCAB = 0,
  // The tokens of all levels.
  SEMID_NORMALIZER_SEMANTIC_ID_VOCAB = 1,
  // The tokens of the level, whether or not an item has them there.
  SEMID_NORMALIZER_LEVEL = 2,
  // The codes that may come. A level with one of them needs no model.
  SEMID_NORMALIZER_VALID_CHILDREN = 3,
} SemidNormalizer;

// How logits are stored.
typedef enum {
  // `float`.
  SEMID_LOGIT_TYPE_F32 = 0,
  // IEEE half precision.
  SEMID_LOGIT_TYPE_F16 = 1,
  // The upper half of a `float`.
  SEMID_LOGIT_TYPE_BF16 = 2,
} SemidLogitType;

// What the columns of logits are.
typedef enum {
  // The model's tokens, `[rows, V]`; the search needs tokens to find the codes among them.
  SEMID_COLUMNS_VOCABULARY = 0,
  // The codes of the level, `[rows, K]`, and perhaps one more column, for the end of a shorter
  // ID. Where the rows of a step are at levels of different sizes, `K` is the largest.
  SEMID_COLUMNS_LEVEL = 1,
} SemidColumns;

// A set of items of one index. Removed items are in none.
typedef struct SemidFilter SemidFilter;

// An index file, mapped into memory.
typedef struct SemidIndex SemidIndex;

// Beams of one request. The server draws the tokens and moves its caches; the session tells which
// tokens may come, and which items came out.
//
// Each beam goes from `SEMID_PHASE_INACTIVE` over `SEMID_PHASE_ACTIVE` to `SEMID_PHASE_DONE`, at
// its own pace. In the beginning there is one.
typedef struct SemidSession SemidSession;

// The tokens of a model that stand for the codes of an index.
typedef struct SemidTokens SemidTokens;

// How to open an index. Zeros are the defaults.
typedef struct {
  // `sizeof(SemidIndexOptions)`.
  size_t struct_size;
  // Not 0: the file is not validated, which else reads all of it once, at a gigabyte a second
  // or so. A damaged file then gives wrong answers or `SEMID_STATUS_DAMAGED`.
  size_t trusted;
} SemidIndexOptions;

// What an index says about itself.
typedef struct {
  // `sizeof(SemidIndexInfo)`, set by the caller.
  size_t struct_size;
  // Items, removed ones included: they are numbered from 0.
  size_t items;
  // Levels, the codes of a full semantic ID.
  size_t levels;
  // How many times a published index was changed to become this one.
  uint64_t generation;
} SemidIndexInfo;

// A node of the trie of all semantic IDs, that is, some first codes: the state of one beam. A
// plain value, which need not be freed.
typedef struct {
  // The index.
  const SemidIndex *index;
  // Codes on the way here.
  uint32_t depth;
  // The place among the nodes of that depth.
  uint32_t node;
} SemidCursor;

// What a session is told. Zeros are the defaults.
typedef struct {
  // `sizeof(SemidSessionOptions)`.
  size_t struct_size;
  // The items that may be given; null is all.
  const SemidFilter *filter;
  // The tokens after which an item begins, whatever came before them. Without any it begins
  // after the token before IDs (see `semid_tokens_between`), else at once.
  const uint32_t *trigger;
  // Their number.
  size_t trigger_length;
  // The tokens that may follow an item, as the end of the text. Without any it is the token
  // after IDs, if there is one.
  const uint32_t *end;
  // Their number.
  size_t end_length;
  // Steps that can be taken back; 0 is 64.
  size_t rollback;
} SemidSessionOptions;

// A prefix whose next code is to be scored.
typedef struct {
  // Its number among all rows of this search.
  uint32_t id;
  // The row of an earlier step that this one continues, and whose key-value cache it can go on
  // with: its prefix is the longest scored one. `SEMID_NONE` at the root.
  uint32_t parent;
  // The request that it belongs to, from 0.
  uint32_t request;
  // Codes so far.
  uint32_t depth;
  // The codes so far, `[depth]`.
  const uint16_t *prefix;
} SemidRow;

// One forward pass.
typedef struct {
  // `sizeof(SemidStep)`, as the library knows it.
  size_t struct_size;
  // The prefixes to score.
  const SemidRow *rows;
  // Their number, at least 1.
  size_t count;
} SemidStep;

// What a scorer answers; all zeros before it does. The arrays stay the scorer's, and must stay as
// they are until it is called again or the search ends.
typedef struct {
  // `sizeof(SemidStepScores)`, as the library knows it.
  size_t struct_size;
  // Raw logits, row after row. `-inf` is that of a token that cannot be.
  const void *logits;
  // Values in `logits`: rows times columns.
  size_t length;
  // A `SemidLogitType`.
  size_t logit_type;
  // A `SemidColumns`.
  size_t columns;
  // `ln(sum(exp(logits)))` of each row, if the model has found it: then the normalizer has
  // nothing to do. Else null.
  const float *log_sums;
} SemidStepScores;

// A model: puts the logits of what follows each row of the step into `scores`. Any
// number but 0 ends the search with `SEMID_STATUS_SCORER`. It is called on the thread that
// searches, at most once a level unless the search is exact; it must not throw.
typedef int (*SemidScoreFunction)(void *user, const SemidStep *step, SemidStepScores *scores);

// What to search, and how. Zeros are the defaults, but for the index and the scorer.
typedef struct {
  // `sizeof(SemidSearch)`.
  size_t struct_size;
  // The index.
  const SemidIndex *index;
  // Where codes are among the model's tokens; null if the scorer gives `SEMID_COLUMNS_LEVEL`.
  const SemidTokens *tokens;
  // The model.
  SemidScoreFunction score;
  // Handed to `score`.
  void *user;
  // Items to return for each request; 0 is 10.
  size_t results;
  // Prefixes kept after each level but the last; the last number serves the levels beyond. None
  // is 20 at all levels.
  const size_t *beams;
  // Numbers in `beams`.
  size_t beams_length;
  // A `SemidNormalizer`.
  size_t normalizer;
  // An item's score is the sum of its log-probabilities over `length^penalty`.
  double length_penalty;
  // Not 0: go on, best first, until the answer is proven or this many rows of a request were
  // scored.
  size_t row_budget;
} SemidSearch;

// An item that was found.
typedef struct {
  // The item.
  uint32_t item;
  // The sum of the log-probabilities of its codes, over the length penalty.
  float score;
} SemidHit;

// The answer to a request.
typedef struct {
  // Items that were found; fewer than asked for where there are no more.
  uint32_t hits;
  // 1 if these are proven to be the best of all that may be given.
  uint32_t exact;
  // By how much an item that was not looked at may be better than the last hit: 0 if `exact`,
  // NaN with fewer hits than asked for.
  float gap;
  // Rows that were scored.
  uint32_t rows;
} SemidAnswer;

// A prefix that a caller keeps.
typedef struct {
  // Where it stands.
  SemidCursor cursor;
  // The sum of the log-probabilities of its codes: 0 at the root, `-inf` if it is dead.
  float score;
} SemidBeam;

// A prefix one code longer than a beam of the step before.
typedef struct {
  // The prefix and its score.
  SemidBeam beam;
  // The place of the beam that it continues, for its key-value cache.
  uint32_t parent;
  // Its last code.
  uint32_t code;
} SemidContinuation;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Why the last failed call of this thread failed: what was got, what was expected, where, and
// what to do; empty if none has failed. Valid until the next failed call of this thread.
const char *semid_error_message(void);

// The version of the library, such as `0.1.0`.
const char *semid_version(void);

// Opens the index file at a path in UTF-8. `options` may be null.
//
// The file is mapped, not read: it may be replaced by renaming another over it, but must not be
// written in place while it is open. What was made of an index keeps it open, so handles may be
// closed in any order.
SemidStatus semid_index_open(const char *path,
                             const SemidIndexOptions *options,
                             const SemidIndex **index);

// Closes an index; null is fine.
SemidStatus semid_index_close(const SemidIndex *index);

// Tells how large an index is.
SemidStatus semid_index_info(const SemidIndex *index, SemidIndexInfo *info);

// Gives the number of codes of each level. The next number stands for the end of a shorter ID.
SemidStatus semid_index_sizes(const SemidIndex *index,
                              uint32_t *sizes,
                              size_t capacity,
                              size_t *length);

// Finds the item with a key; `SEMID_STATUS_NOT_FOUND` if there is none.
SemidStatus semid_index_find(const SemidIndex *index, const char *key, uint32_t *item);

// Gives the key of an item, in UTF-8. Its length counts the zero at its end.
SemidStatus semid_index_key(const SemidIndex *index,
                            uint32_t item,
                            char *key,
                            size_t capacity,
                            size_t *length);

// Gives the semantic ID of an item, without padding.
SemidStatus semid_index_codes(const SemidIndex *index,
                              uint32_t item,
                              uint16_t *codes,
                              size_t capacity,
                              size_t *length);

// Tells the rank of an item: its place when all are sorted by semantic ID, then key.
SemidStatus semid_index_rank(const SemidIndex *index, uint32_t item, uint32_t *rank);

// Tells the item at a rank.
SemidStatus semid_index_item(const SemidIndex *index, uint32_t rank, uint32_t *item);

// Gives the root, before the first code.
SemidStatus semid_cursor_root(const SemidIndex *index, SemidCursor *cursor);

// Goes on by a code; `SEMID_STATUS_NOT_FOUND` if no item does. `child` may be where `cursor`
// comes from.
SemidStatus semid_cursor_descend(SemidCursor cursor, uint16_t code, SemidCursor *child);

// Gives the codes that may come next, ascending; none behind a full ID. The number that follows
// the level's codes (see `semid_index_sizes`) says that a shorter ID ends here.
SemidStatus semid_cursor_children(SemidCursor cursor,
                                  uint16_t *codes,
                                  size_t capacity,
                                  size_t *length);

// Tells the ranks of the items that begin so: from `first` to before `end`.
SemidStatus semid_cursor_ranks(SemidCursor cursor, uint32_t *first, uint32_t *end);

// Gives the items that begin so, in order of rank, removed ones included.
SemidStatus semid_cursor_items(SemidCursor cursor,
                               uint32_t *items,
                               size_t capacity,
                               size_t *length);

// The token of code `c` of level `l` is `firsts[l] + c`. `vocabulary` is the width of the model's
// logits, which may be more than the tokenizer has.
SemidStatus semid_tokens_ranges(const SemidIndex *index,
                                const uint32_t *firsts,
                                size_t levels,
                                size_t vocabulary,
                                const SemidTokens **tokens);

// The token of each code, level after level: as many as `semid_index_sizes` sums to. Codes that
// no item has may have `SEMID_NONE`.
SemidStatus semid_tokens_table(const SemidIndex *index,
                               const uint32_t *table,
                               size_t length,
                               size_t vocabulary,
                               const SemidTokens **tokens);

// The tokens that the index spells (such as `<a_12>`), as a Hugging Face `tokenizer.json` of
// `length` bytes numbers them, and those before and after an ID.
SemidStatus semid_tokens_of_tokenizer(const SemidIndex *index,
                                      const uint8_t *json,
                                      size_t length,
                                      size_t vocabulary,
                                      const SemidTokens **tokens);

// The same tokens with one before and one after each semantic ID, or `SEMID_NONE`. A new
// handle.
SemidStatus semid_tokens_between(const SemidTokens *tokens,
                                 uint32_t begin,
                                 uint32_t end,
                                 const SemidTokens **between);

// Closes tokens; null is fine.
SemidStatus semid_tokens_close(const SemidTokens *tokens);

// Tells the token of a code; `SEMID_STATUS_NOT_FOUND` if it has none.
SemidStatus semid_tokens_token(const SemidTokens *tokens,
                               size_t level,
                               uint16_t code,
                               uint32_t *token);

// Tells the code that a token stands for at a level; `SEMID_STATUS_NOT_FOUND` if for none.
SemidStatus semid_tokens_code(const SemidTokens *tokens,
                              size_t level,
                              uint32_t token,
                              uint16_t *code);

// These items only.
SemidStatus semid_filter_allow_items(const SemidIndex *index,
                                     const uint32_t *items,
                                     size_t count,
                                     const SemidFilter **filter);

// All items but these.
SemidStatus semid_filter_deny_items(const SemidIndex *index,
                                    const uint32_t *items,
                                    size_t count,
                                    const SemidFilter **filter);

// The items with these keys only.
SemidStatus semid_filter_allow_keys(const SemidIndex *index,
                                    const char *const *keys,
                                    size_t count,
                                    const SemidFilter **filter);

// All items but those with these keys.
SemidStatus semid_filter_deny_keys(const SemidIndex *index,
                                   const char *const *keys,
                                   size_t count,
                                   const SemidFilter **filter);

// What both allow. A new handle, as for the next two.
SemidStatus semid_filter_and(const SemidFilter *one,
                             const SemidFilter *other,
                             const SemidFilter **both);

// What one or both allow.
SemidStatus semid_filter_or(const SemidFilter *one,
                            const SemidFilter *other,
                            const SemidFilter **either);

// What is not allowed.
SemidStatus semid_filter_not(const SemidFilter *filter, const SemidFilter **others);

// Tells how many items are allowed.
SemidStatus semid_filter_count(const SemidFilter *filter, size_t *count);

// Closes a filter; null is fine.
SemidStatus semid_filter_close(const SemidFilter *filter);

// Tells the words of a mask: a bit for each token of the vocabulary, `ceil(V / 32)`.
//
// Token `t` may come if bit `t % 32` of word `t / 32` is 1, least significant bit first: the
// layout of xgrammar, llguidance and vLLM, where words are signed.
SemidStatus semid_mask_words(const SemidTokens *tokens, size_t *words);

// Writes a row of bits for each of some cursors of one index, `length` words in all: the tokens
// of the codes that lead to an item of the filter (to any item, if it is null) and, where an ID
// is complete, the token after it. On an error bits may be missing, but none is too many.
SemidStatus semid_mask_fill(const SemidTokens *tokens,
                            const SemidFilter *filter,
                            const SemidCursor *cursors,
                            size_t count,
                            uint32_t *rows,
                            size_t length);

// Gives the tokens of a row of `words` words, ascending.
SemidStatus semid_mask_tokens(const uint32_t *row,
                              size_t words,
                              uint32_t *tokens,
                              size_t capacity,
                              size_t *length);

// Begins a session. `options` may be null.
SemidStatus semid_session_open(const SemidIndex *index,
                               const SemidTokens *tokens,
                               const SemidSessionOptions *options,
                               const SemidSession **session);

// A copy that goes its own way, history included.
SemidStatus semid_session_fork(const SemidSession *session, const SemidSession **fork);

// Closes a session; null is fine.
SemidStatus semid_session_close(const SemidSession *session);

// Goes back to the beginning, for another text.
SemidStatus semid_session_reset(const SemidSession *session);

// Moves on by a token a beam: the new beam `i` is the old beam `parents[i]` with `tokens[i]` after
// it. There may be more or fewer beams than before. Without `parents` (null) each goes on as it
// is. `SEMID_STATUS_FORBIDDEN` if a mask does not allow its token.
SemidStatus semid_session_advance(const SemidSession *session,
                                  const uint32_t *parents,
                                  const uint32_t *tokens,
                                  size_t count);

// Takes back the last `steps` calls of `semid_session_advance`.
SemidStatus semid_session_rollback(const SemidSession *session, size_t steps);

// Tells how many beams there are.
SemidStatus semid_session_beams(const SemidSession *session, size_t *beams);

// Tells where a beam is.
SemidStatus semid_session_phase(const SemidSession *session, size_t beam, SemidPhase *phase);

// Writes the mask of a beam, a row of `semid_mask_words` words. On an error all bits are 0.
SemidStatus semid_session_fill_mask(const SemidSession *session,
                                    size_t beam,
                                    uint32_t *row,
                                    size_t words);

// Gives the items of a beam: none if it is not done, several where items share an ID.
SemidStatus semid_session_items(const SemidSession *session,
                                size_t beam,
                                uint32_t *items,
                                size_t capacity,
                                size_t *length);

// Finds the best items for each of some requests, by beam search. Nothing is cut before the mask,
// no item comes twice, and ties go to the lower rank.
//
// `filters` has a filter for each request, null for all items; or is null. The hits of request `r`
// are at `hits + r * results`, best first, and their number is in `answers[r]`; `capacity` counts
// hits, and must be `requests * results` at least.
//
// The requests of a call share its steps and are searched on the library's threads
// (`RAYON_NUM_THREADS`). Neither changes an answer.
SemidStatus semid_search(const SemidSearch *search,
                         const SemidFilter *const *filters,
                         size_t requests,
                         SemidHit *hits,
                         size_t capacity,
                         SemidAnswer *answers);

// Gives the best continuations of the beams of one request, at most `capacity`, best first; ties go
// to the lower node. All children of all beams are looked at.
//
// `scores` has the logits that follow the beams, a row each. Of `search`, the index, the tokens and
// the normalizer count. The first step is that of one beam at the root; after the last level
// `semid_cursor_items` has the items. IDs must be of one length.
SemidStatus semid_step(const SemidSearch *search,
                       const SemidBeam *beams,
                       size_t beams_length,
                       const SemidStepScores *scores,
                       const SemidFilter *filter,
                       SemidContinuation *best,
                       size_t capacity,
                       size_t *length);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SEMID_H */
