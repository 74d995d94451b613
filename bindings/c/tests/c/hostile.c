// Calls that cannot be: each ends with a status, and the sanitizers have nothing to say.
#include <semid.h>

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "expect.h"

enum { VOCABULARY = 108, WORDS = 4 };
#define IS(status, call) EXPECT((call) == SEMID_STATUS_##status)

static const SemidIndex *index_;
static const SemidTokens *tokens;

static void null_pointers(const char *path) {
  uint32_t number;
  uint16_t code;
  size_t length;
  const SemidIndex *index;
  const SemidTokens *map;
  const SemidFilter *filter;
  const SemidSession *session;
  SemidCursor cursor, nowhere;
  SemidPhase phase;
  memset(&nowhere, 0, sizeof nowhere);

  IS(NULL, semid_index_open(NULL, NULL, &index));
  IS(NULL, semid_index_open(path, NULL, NULL));
  IS(NULL, semid_index_info(NULL, NULL));
  IS(NULL, semid_index_info(index_, NULL));
  IS(NULL, semid_index_sizes(NULL, &number, 1, &length));
  IS(NULL, semid_index_sizes(index_, NULL, 2, &length));
  IS(NULL, semid_index_sizes(index_, &number, 1, NULL));
  IS(NULL, semid_index_find(index_, NULL, &number));
  IS(NULL, semid_index_find(index_, "lamp", NULL));
  IS(NULL, semid_index_key(index_, 0, NULL, 99, &length));
  IS(NULL, semid_index_codes(index_, 0, NULL, 99, &length));
  IS(NULL, semid_index_rank(index_, 0, NULL));
  IS(NULL, semid_index_item(index_, 0, NULL));
  IS(NULL, semid_cursor_root(index_, NULL));
  IS(NULL, semid_cursor_root(NULL, &cursor));
  IS(NULL, semid_cursor_descend(nowhere, 0, &cursor));
  IS(NULL, semid_cursor_children(nowhere, &code, 1, &length));
  IS(NULL, semid_cursor_items(nowhere, &number, 1, &length));
  DO(semid_cursor_root(index_, &cursor));
  IS(NULL, semid_cursor_descend(cursor, 0, NULL));
  IS(NULL, semid_cursor_ranks(cursor, NULL, &number));
  IS(NULL, semid_cursor_ranks(cursor, &number, NULL));
  IS(NULL, semid_tokens_ranges(index_, NULL, 2, VOCABULARY, &map));
  IS(NULL, semid_tokens_table(index_, NULL, 8, VOCABULARY, &map));
  IS(NULL, semid_tokens_of_tokenizer(index_, NULL, 9, VOCABULARY, &map));
  IS(NULL, semid_tokens_between(NULL, 1, 2, &map));
  IS(NULL, semid_tokens_between(tokens, 1, 2, NULL));
  IS(NULL, semid_tokens_token(tokens, 0, 0, NULL));
  IS(NULL, semid_tokens_code(tokens, 0, 100, NULL));
  IS(NULL, semid_filter_allow_items(index_, NULL, 1, &filter));
  IS(NULL, semid_filter_deny_items(index_, NULL, 0, NULL));
  IS(NULL, semid_filter_allow_keys(index_, NULL, 1, &filter));
  IS(NULL, semid_filter_deny_keys(index_, (const char *const[]){"lamp", NULL}, 2, &filter));
  IS(NULL, semid_filter_and(NULL, NULL, &filter));
  IS(NULL, semid_filter_or(NULL, NULL, &filter));
  IS(NULL, semid_filter_not(NULL, &filter));
  IS(NULL, semid_filter_count(NULL, &length));
  IS(NULL, semid_mask_words(tokens, NULL));
  IS(NULL, semid_mask_fill(tokens, NULL, NULL, 1, &number, 1));
  IS(NULL, semid_mask_fill(tokens, NULL, &cursor, 1, NULL, WORDS));
  IS(NULL, semid_mask_tokens(NULL, 1, &number, 1, &length));
  IS(NULL, semid_session_open(NULL, tokens, NULL, &session));
  IS(NULL, semid_session_open(index_, NULL, NULL, &session));
  IS(NULL, semid_session_open(index_, tokens, NULL, NULL));
  IS(NULL, semid_session_fork(NULL, &session));
  IS(NULL, semid_session_reset(NULL));
  IS(NULL, semid_session_beams(NULL, &length));
  IS(NULL, semid_session_phase(NULL, 0, &phase));
  IS(NULL, semid_search(NULL, NULL, 0, NULL, 0, NULL));

  // Nothing to close, and nothing to read or write.
  DO(semid_index_close(NULL));
  DO(semid_tokens_close(NULL));
  DO(semid_filter_close(NULL));
  DO(semid_session_close(NULL));
  DO(semid_mask_tokens(NULL, 0, NULL, 0, &length));
  DO(semid_mask_fill(tokens, NULL, NULL, 0, NULL, 0));
  DO(semid_filter_deny_items(index_, NULL, 0, &filter));
  DO(semid_filter_close(filter));
}

static void closed_handles(const char *path) {
  const SemidIndex *index, *again;
  const SemidFilter *filter;
  const SemidSession *session;
  const uint32_t item = 0;
  uint32_t number;
  size_t length;
  DO(semid_index_open(path, NULL, &index));
  SemidCursor cursor;
  DO(semid_cursor_root(index, &cursor));
  DO(semid_filter_allow_items(index, &item, 1, &filter));
  SemidSessionOptions options = {.struct_size = sizeof options, .filter = filter};
  DO(semid_session_open(index, tokens, &options, &session));
  DO(semid_filter_close(filter));
  DO(semid_index_close(index));
  IS(CLOSED, semid_index_close(index));
  IS(CLOSED, semid_filter_close(filter));
  IS(CLOSED, semid_filter_count(filter, &length));
  IS(CLOSED, semid_index_rank(index, 0, &number));
  IS(CLOSED, semid_cursor_ranks(cursor, &number, &number));

  // No later handle is taken for it, nor one of another type, nor any address.
  DO(semid_index_open(path, NULL, &again));
  IS(CLOSED, semid_index_rank(index, 0, &number));
  IS(CLOSED, semid_index_rank((const SemidIndex *)session, 0, &number));
  IS(CLOSED, semid_index_rank((const SemidIndex *)&number, 0, &number));
  IS(CLOSED, semid_index_close((const SemidIndex *)UINTPTR_MAX));
  DO(semid_index_close(again));

  // What was made of a handle lives on.
  uint32_t row[WORDS], allowed;
  DO(semid_session_fill_mask(session, 0, row, WORDS));
  DO(semid_mask_tokens(row, WORDS, &allowed, 1, &length));
  EXPECT(length == 1 && allowed == 100);
  DO(semid_session_close(session));
  IS(CLOSED, semid_session_close(session));
  IS(CLOSED, semid_session_rollback(session, 0));
}

static void wrong_sizes(void) {
  uint32_t numbers[8], row[WORDS];
  uint16_t codes[4];
  char key[5];
  size_t length;
  const SemidTokens *map;
  const SemidSession *session;
  SemidCursor cursor;
  DO(semid_cursor_root(index_, &cursor));

  // The length is told, and nothing written.
  IS(CAPACITY, semid_index_key(index_, 0, key, 4, &length));
  EXPECT(length == 5);
  DO(semid_index_key(index_, 0, key, 5, &length));
  EXPECT(strcmp(key, "lamp") == 0);
  IS(CAPACITY, semid_cursor_items(cursor, NULL, 0, &length));
  EXPECT(length == 6);
  IS(CAPACITY, semid_index_sizes(index_, numbers, 1, &length));
  IS(CAPACITY, semid_index_codes(index_, 0, codes, 1, &length));

  IS(ARGUMENT, semid_tokens_ranges(index_, numbers, 1, VOCABULARY, &map));
  IS(ARGUMENT, semid_tokens_ranges(index_, (const uint32_t *)1, 2, VOCABULARY, &map));
  IS(ARGUMENT, semid_tokens_ranges(index_, numbers, SIZE_MAX, VOCABULARY, &map));
  IS(ARGUMENT, semid_tokens_ranges(index_, (const uint32_t[]){100, 105}, 2, VOCABULARY, &map));
  IS(ARGUMENT, semid_tokens_ranges(index_, (const uint32_t[]){UINT32_MAX, 0}, 2, VOCABULARY, &map));
  IS(ARGUMENT, semid_tokens_table(index_, numbers, 7, VOCABULARY, &map));
  IS(ARGUMENT, semid_tokens_table(index_, (const uint32_t[8]){0}, 8, VOCABULARY, &map));
  IS(ARGUMENT, semid_tokens_of_tokenizer(index_, (const uint8_t *)"{}", 2, VOCABULARY, &map));
  IS(ARGUMENT, semid_tokens_between(tokens, VOCABULARY, SEMID_NONE, &map));
  IS(ARGUMENT, semid_mask_fill(tokens, NULL, &cursor, 1, row, WORDS - 1));
  IS(ARGUMENT, semid_mask_fill(tokens, NULL, &cursor, SIZE_MAX, row, WORDS));

  // Numbers that are none.
  IS(NOT_FOUND, semid_index_find(index_, "chair", numbers));
  EXPECT(strstr(semid_error_message(), "chair"));
  IS(ARGUMENT, semid_index_find(index_, "\xff", numbers));
  IS(NOT_FOUND, semid_index_key(index_, 6, key, 5, &length));
  IS(NOT_FOUND, semid_index_codes(index_, UINT32_MAX, codes, 4, &length));
  IS(NOT_FOUND, semid_index_rank(index_, 6, numbers));
  IS(NOT_FOUND, semid_index_item(index_, 6, numbers));
  IS(NOT_FOUND, semid_cursor_descend(cursor, 3, &cursor));
  IS(NOT_FOUND, semid_tokens_token(tokens, 2, 0, numbers));
  IS(NOT_FOUND, semid_tokens_code(tokens, SIZE_MAX, 100, codes));
  const SemidFilter *filter;
  IS(NOT_FOUND, semid_filter_allow_items(index_, (const uint32_t[]){6}, 1, &filter));
  IS(NOT_FOUND, semid_filter_deny_keys(index_, (const char *const[]){"chair"}, 1, &filter));
  cursor.node = 1;
  IS(NOT_FOUND, semid_cursor_children(cursor, codes, 4, &length));
  cursor.depth = UINT32_MAX;
  IS(NOT_FOUND, semid_cursor_ranks(cursor, numbers, numbers + 1));

  DO(semid_session_open(index_, tokens, NULL, &session));
  IS(ARGUMENT, semid_session_fill_mask(session, 0, row, WORDS - 1));
  IS(NOT_FOUND, semid_session_fill_mask(session, 1, row, WORDS));
  IS(NOT_FOUND, semid_session_items(session, SIZE_MAX, numbers, 8, &length));
  IS(ARGUMENT, semid_session_advance(session, NULL, numbers, 2));
  IS(NOT_FOUND, semid_session_advance(session, (const uint32_t[]){1}, (const uint32_t[]){100}, 1));
  IS(FORBIDDEN, semid_session_advance(session, NULL, (const uint32_t[]){UINT32_MAX}, 1));
  IS(ARGUMENT, semid_session_rollback(session, SIZE_MAX));
  DO(semid_session_close(session));
}

// Programs of other versions.
static void struct_sizes(const char *path) {
  const SemidIndex *index;
  IS(ARGUMENT, semid_index_open(path, &(SemidIndexOptions){.struct_size = 0}, &index));
  IS(ARGUMENT, semid_index_open(path, &(SemidIndexOptions){.struct_size = 9}, &index));
  IS(ARGUMENT, semid_index_open(path, &(SemidIndexOptions){.struct_size = SIZE_MAX}, &index));

  // An older one knows fewer fields: what stands behind them is not read.
  SemidIndexOptions *old = malloc(sizeof old->struct_size);
  EXPECT(old);
  old->struct_size = sizeof old->struct_size;
  DO(semid_index_open(path, old, &index));
  DO(semid_index_close(index));
  free(old);
  SemidIndexInfo info = {.struct_size = 2 * sizeof(size_t), .levels = 77};
  DO(semid_index_info(index_, &info));
  EXPECT(info.items == 6 && info.levels == 77 && info.struct_size == 2 * sizeof(size_t));

  // A newer one knows more, which must be 0 here.
  struct {
    SemidIndexOptions known;
    size_t unknown;
  } newer = {{.struct_size = sizeof newer}, 0};
  DO(semid_index_open(path, &newer.known, &index));
  DO(semid_index_close(index));
  newer.unknown = 1;
  IS(ARGUMENT, semid_index_open(path, &newer.known, &index));
}

static float logits[8 * VOCABULARY];
static float bad;
static SemidStepScores answer;

static int as_told(void *user, const SemidStep *step, SemidStepScores *scores) {
  for (size_t at = 0; at < step->count * VOCABULARY; at++) logits[at] = bad;
  *scores = answer;
  if (!user) scores->length = step->count * VOCABULARY;
  return 0;
}

// A loop of steps finds what a search finds.
static void steps(void) {
  SemidHit hits[10];
  SemidAnswer found;
  SemidSearch search = {.struct_size = sizeof search, .index = index_, .tokens = tokens};
  search.score = as_told;
  answer.logits = logits;
  DO(semid_search(&search, NULL, 1, hits, 10, &found));

  SemidContinuation best[10];
  SemidBeam beams[10] = {{.score = 0}};
  DO(semid_cursor_root(index_, &beams[0].cursor));
  size_t live = 1;
  SemidStepScores scores = {.struct_size = sizeof scores, .logits = logits};
  for (size_t level = 0; level < 2; level++) {
    scores.length = live * VOCABULARY;
    DO(semid_step(&search, beams, live, &scores, NULL, best, 10, &live));
    for (size_t at = 0; at < live; at++) beams[at] = best[at].beam;
  }
  EXPECT(live == found.hits);
  for (size_t at = 0; at < live; at++) {
    uint32_t item;
    size_t items;
    DO(semid_cursor_items(beams[at].cursor, &item, 1, &items));
    EXPECT(item == hits[at].item && beams[at].score == hits[at].score);
  }

  IS(ARGUMENT, semid_step(&search, beams, live, &scores, NULL, best, 10, &live));
  DO(semid_cursor_root(index_, &beams[0].cursor));
  beams[0].score = 0;
  scores.length = VOCABULARY - 1;
  IS(ARGUMENT, semid_step(&search, beams, 1, &scores, NULL, best, 10, &live));
  scores.length = VOCABULARY;
  IS(NULL, semid_step(NULL, beams, 1, &scores, NULL, best, 10, &live));
  IS(NULL, semid_step(&search, NULL, 1, &scores, NULL, best, 10, &live));
  IS(NULL, semid_step(&search, beams, 1, NULL, NULL, best, 10, &live));
  IS(NULL, semid_step(&search, beams, 1, &scores, NULL, NULL, 10, &live));
  IS(NULL, semid_step(&search, beams, 1, &scores, NULL, best, 10, NULL));
  beams[0].score = NAN;
  IS(ARGUMENT, semid_step(&search, beams, 1, &scores, NULL, best, 10, &live));
  beams[0] = (SemidBeam){.score = 0};
  IS(ARGUMENT, semid_step(&search, beams, 1, &scores, NULL, best, 10, &live));
}

static int fails(void *user, const SemidStep *step, SemidStepScores *scores) {
  (void)user, (void)step, (void)scores;
  return 42;
}

static void searches(void) {
  SemidHit hits[10];
  SemidAnswer found;
  SemidSearch search = {.struct_size = sizeof search, .index = index_, .tokens = tokens};
  IS(NULL, semid_search(&search, NULL, 1, hits, 10, &found));
  search.score = fails;
  IS(SCORER, semid_search(&search, NULL, 1, hits, 10, &found));
  EXPECT(strstr(semid_error_message(), "42"));
  IS(CAPACITY, semid_search(&search, NULL, 1, hits, 9, &found));
  IS(CAPACITY, semid_search(&search, NULL, SIZE_MAX, hits, 10, &found));
  IS(NULL, semid_search(&search, NULL, 1, NULL, 10, &found));
  IS(NULL, semid_search(&search, NULL, 1, hits, 10, NULL));
  DO(semid_search(&search, NULL, 0, NULL, 0, NULL));

  search.score = as_told;
  answer.logits = logits;
  DO(semid_search(&search, NULL, 1, hits, 10, &found));
  EXPECT(found.hits == 6 && found.exact && isnan(found.gap) == 0);
  const float bads[] = {NAN, INFINITY, -INFINITY};
  for (size_t at = 0; at < 3; at++) {
    bad = bads[at];
    IS(LOGITS, semid_search(&search, NULL, 1, hits, 10, &found));
  }
  bad = 0;
  answer.logits = NULL;
  IS(SCORER, semid_search(&search, NULL, 1, hits, 10, &found));
  answer.logits = logits;
  answer.logit_type = 3;
  IS(SCORER, semid_search(&search, NULL, 1, hits, 10, &found));
  answer.logit_type = 0;
  answer.columns = 2;
  IS(SCORER, semid_search(&search, NULL, 1, hits, 10, &found));
  answer.columns = 0;
  answer.length = VOCABULARY - 1;
  search.user = &search;
  IS(ARGUMENT, semid_search(&search, NULL, 1, hits, 10, &found));
  search.user = NULL;

  search.normalizer = 4;
  IS(ARGUMENT, semid_search(&search, NULL, 1, hits, 10, &found));
  search.normalizer = 0;
  search.length_penalty = NAN;
  IS(ARGUMENT, semid_search(&search, NULL, 1, hits, 10, &found));
  search.length_penalty = 0;
  search.beams = (const size_t[]){0};
  search.beams_length = 1;
  IS(ARGUMENT, semid_search(&search, NULL, 1, hits, 10, &found));
  search.beams = (const size_t[]){SIZE_MAX};
  DO(semid_search(&search, NULL, 1, hits, 10, &found));
  search.beams = NULL;
  IS(NULL, semid_search(&search, NULL, 1, hits, 10, &found));
}

// Handles of two indexes do not go together.
static void strangers(const char *path) {
  const SemidIndex *other;
  const SemidFilter *ours, *theirs, *both;
  const uint32_t item = 0;
  uint32_t rows[2 * WORDS];
  DO(semid_index_open(path, &(SemidIndexOptions){sizeof(SemidIndexOptions), 1}, &other));
  DO(semid_filter_allow_items(index_, &item, 1, &ours));
  DO(semid_filter_allow_items(other, &item, 1, &theirs));
  IS(ARGUMENT, semid_filter_and(ours, theirs, &both));
  SemidCursor cursors[2];
  DO(semid_cursor_root(index_, &cursors[0]));
  DO(semid_cursor_root(other, &cursors[1]));
  IS(ARGUMENT, semid_mask_fill(tokens, NULL, cursors, 2, rows, 2 * WORDS));
  IS(ARGUMENT, semid_mask_fill(tokens, theirs, cursors, 1, rows, WORDS));
  DO(semid_filter_close(ours));
  DO(semid_filter_close(theirs));
  DO(semid_index_close(other));
}

static void files(const char *path) {
  const SemidIndex *index;
  IS(FILE, semid_index_open("no such file", NULL, &index));
  IS(FILE, semid_index_open("/", NULL, &index));
  char damaged[4096];
  EXPECT(snprintf(damaged, sizeof damaged, "%s.damaged", path) < (int)sizeof damaged);
  // A bit that the header says nothing about, and half a file.
  FILE *from = fopen(path, "rb"), *to = fopen(damaged, "wb");
  EXPECT(from && to);
  static char bytes[1 << 16];
  size_t size = fread(bytes, 1, sizeof bytes, from);
  EXPECT(size > 0 && size < sizeof bytes);
  bytes[size - 1] ^= 1;
  EXPECT(fwrite(bytes, 1, size, to) == size && fclose(to) == 0 && fclose(from) == 0);
  IS(DAMAGED, semid_index_open(damaged, NULL, &index));
  DO(semid_index_open(damaged, &(SemidIndexOptions){sizeof(SemidIndexOptions), 1}, &index));
  DO(semid_index_close(index));
  to = fopen(damaged, "wb");
  EXPECT(to && fwrite(bytes, 1, size / 2, to) == size / 2 && fclose(to) == 0);
  IS(DAMAGED, semid_index_open(damaged, NULL, &index));
}

int main(int count, char **arguments) {
  EXPECT(count == 2);
  DO(semid_index_open(arguments[1], NULL, &index_));
  DO(semid_tokens_ranges(index_, (const uint32_t[]){100, 104}, 2, VOCABULARY, &tokens));
  null_pointers(arguments[1]);
  closed_handles(arguments[1]);
  wrong_sizes();
  struct_sizes(arguments[1]);
  searches();
  steps();
  strangers(arguments[1]);
  files(arguments[1]);
  DO(semid_tokens_close(tokens));
  DO(semid_index_close(index_));
  return 0;
}
