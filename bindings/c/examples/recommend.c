// Recommends items of an index, with made-up logits in place of a model. Says nothing if all
// answers are as expected: scripts/check_c.sh compiles and runs it.
#include <semid.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Ends the program if a call fails.
#define DO(call)                                                             \
  do {                                                                       \
    if ((call) != SEMID_STATUS_OK) {                                         \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, semid_error_message()); \
      exit(1);                                                               \
    }                                                                        \
  } while (0)

#define EXPECT(condition)                                                    \
  do {                                                                       \
    if (!(condition)) {                                                      \
      fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                               \
    }                                                                        \
  } while (0)

// The vocabulary: 100 words, four codes of level 0, four of level 1.
enum { WORDS = 100, CODES = 4, VOCABULARY = WORDS + 2 * CODES, MOST_ROWS = 8 };

// A model: it likes the first code 2 best, and low second codes.
static int score(void *user, const SemidStep *step, SemidStepScores *scores) {
  static const float first[CODES] = {2.0f, 0.5f, 3.5f, 0.0f}, second[CODES] = {2, 1, 0, -1};
  float *logits = user;
  if (step->count > MOST_ROWS) return 1;
  memset(logits, 0, step->count * VOCABULARY * sizeof *logits);
  for (size_t row = 0; row < step->count; row++) {
    uint32_t depth = step->rows[row].depth;
    float *codes = logits + row * VOCABULARY + WORDS + depth * CODES;
    memcpy(codes, depth == 0 ? first : second, sizeof first);
  }
  scores->logits = logits;
  scores->length = step->count * VOCABULARY;
  return 0;
}

static void expect_key(const SemidIndex *index, uint32_t item, const char *expected) {
  char key[16];
  size_t length;
  DO(semid_index_key(index, item, key, sizeof key, &length));
  EXPECT(strcmp(key, expected) == 0 && length == strlen(expected) + 1);
}

// The library asks the model.
static void search(const SemidIndex *index, const SemidTokens *tokens) {
  float logits[MOST_ROWS * VOCABULARY];
  SemidSearch search = {.struct_size = sizeof search, .index = index, .tokens = tokens};
  search.score = score;
  search.user = logits;
  search.results = 3;

  // Two requests at once: anything, and neither the sofa nor the lamp.
  const char *seen[] = {"sofa", "lamp"};
  const SemidFilter *filters[2] = {NULL, NULL};
  DO(semid_filter_deny_keys(index, seen, 2, &filters[1]));
  SemidHit hits[2 * 3];
  SemidAnswer answers[2];
  DO(semid_search(&search, filters, 2, hits, 6, answers));

  const char *expected[] = {"sofa", "bed", "lamp", "bed", "torch", "desk"};
  for (size_t hit = 0; hit < 6; hit++) expect_key(index, hits[hit].item, expected[hit]);
  EXPECT(answers[0].hits == 3 && answers[0].exact && answers[1].hits == 3);
  EXPECT(hits[0].score > hits[1].score && hits[1].score > hits[2].score);
  DO(semid_filter_close(filters[1]));
}

// The server has its own loop, and asks which tokens may come.
static void decode(const SemidIndex *index, const SemidTokens *tokens) {
  // The model thinks aloud until it says 5 6, and ends with 9.
  const uint32_t trigger[] = {5, 6}, end[] = {9};
  SemidSessionOptions options = {.struct_size = sizeof options};
  options.trigger = trigger;
  options.trigger_length = 2;
  options.end = end;
  options.end_length = 1;
  const SemidSession *session;
  DO(semid_session_open(index, tokens, &options, &session));

  const uint32_t thought[] = {7, 5, 6};
  for (size_t at = 0; at < 3; at++) DO(semid_session_advance(session, NULL, &thought[at], 1));

  uint32_t row[(VOCABULARY + 31) / 32], allowed[VOCABULARY];
  size_t count;
  DO(semid_session_fill_mask(session, 0, row, sizeof row / sizeof *row));
  DO(semid_mask_tokens(row, sizeof row / sizeof *row, allowed, VOCABULARY, &count));
  EXPECT(count == 3 && allowed[0] == 100 && allowed[1] == 101 && allowed[2] == 102);

  // One beam becomes two: the codes 0 and 2, then 2 after the first and 1 after the second.
  DO(semid_session_advance(session, (uint32_t[]){0, 0}, (uint32_t[]){100, 102}, 2));
  EXPECT(semid_session_advance(session, NULL, (uint32_t[]){106, 106}, 2) == SEMID_STATUS_FORBIDDEN);
  DO(semid_session_advance(session, NULL, (uint32_t[]){106, 105}, 2));
  const char *expected[] = {"candle", "bed"};
  for (size_t beam = 0; beam < 2; beam++) {
    uint32_t item;
    DO(semid_session_items(session, beam, &item, 1, &count));
    EXPECT(count == 1);
    expect_key(index, item, expected[beam]);
  }

  DO(semid_session_rollback(session, 1));
  SemidPhase phase;
  DO(semid_session_phase(session, 0, &phase));
  EXPECT(phase == SEMID_PHASE_ACTIVE);
  DO(semid_session_close(session));
}

// Or it walks through the trie by itself.
static void walk(const SemidIndex *index, const SemidTokens *tokens) {
  SemidCursor cursor;
  DO(semid_cursor_root(index, &cursor));
  DO(semid_cursor_descend(cursor, 2, &cursor));
  uint16_t codes[CODES];
  size_t count;
  DO(semid_cursor_children(cursor, codes, CODES, &count));
  EXPECT(count == 2 && codes[0] == 0 && codes[1] == 1);

  size_t words;
  DO(semid_mask_words(tokens, &words));
  uint32_t row[(VOCABULARY + 31) / 32];
  EXPECT(words == sizeof row / sizeof *row);
  DO(semid_mask_fill(tokens, NULL, &cursor, 1, row, words));
  EXPECT(row[3] == (1u << (104 - 96) | 1u << (105 - 96)));
}

int main(int count, char **arguments) {
  EXPECT(count == 2);
  const SemidIndex *index;
  DO(semid_index_open(arguments[1], NULL, &index));
  SemidIndexInfo info = {.struct_size = sizeof info};
  DO(semid_index_info(index, &info));
  EXPECT(info.items == 6 && info.levels == 2);

  const uint32_t firsts[] = {WORDS, WORDS + CODES};
  const SemidTokens *tokens;
  DO(semid_tokens_ranges(index, firsts, 2, VOCABULARY, &tokens));
  search(index, tokens);
  decode(index, tokens);
  walk(index, tokens);
  DO(semid_tokens_close(tokens));
  DO(semid_index_close(index));
  return 0;
}
