// The same from C++: handles that close themselves, errors as exceptions, a lambda as the model.
#include <semid.h>

#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace semid {

inline void check(SemidStatus status) {
  if (status != SEMID_STATUS_OK) throw std::runtime_error(semid_error_message());
}

template <typename T, SemidStatus (*close)(const T *)>
struct Closer {
  void operator()(const T *handle) const { close(handle); }
};
template <typename T, SemidStatus (*close)(const T *)>
using Handle = std::unique_ptr<const T, Closer<T, close>>;

using Index = Handle<SemidIndex, semid_index_close>;
using Tokens = Handle<SemidTokens, semid_tokens_close>;
using Filter = Handle<SemidFilter, semid_filter_close>;
using Session = Handle<SemidSession, semid_session_close>;

// What a function gives as its last argument.
template <typename Owner, typename Function, typename... Arguments>
Owner make(Function function, Arguments... arguments) {
  typename Owner::pointer handle = nullptr;
  check(function(arguments..., &handle));
  return Owner(handle);
}

inline std::string key(const Index &index, uint32_t item) {
  size_t length = 0;
  semid_index_key(index.get(), item, nullptr, 0, &length);
  std::string key(length, '\0');
  check(semid_index_key(index.get(), item, &key[0], length, &length));
  key.pop_back();
  return key;
}

// Gives the logits of the rows, `[rows, V]`.
using Model = std::function<std::vector<float>(const SemidRow *rows, size_t count)>;

inline std::vector<SemidHit> search(const Index &index, const Tokens &tokens, const Filter &filter,
                                    size_t results, const Model &model) {
  struct Call {
    const Model &model;
    std::vector<float> logits;
    std::exception_ptr error;
  } call{model, {}, nullptr};
  SemidSearch search = {};
  search.struct_size = sizeof search;
  search.index = index.get();
  search.tokens = tokens.get();
  search.user = &call;
  search.results = results;
  // An exception must not pass through the library.
  search.score = [](void *user, const SemidStep *step, SemidStepScores *scores) {
    auto &call = *static_cast<Call *>(user);
    try {
      call.logits = call.model(step->rows, step->count);
    } catch (...) {
      call.error = std::current_exception();
      return 1;
    }
    scores->logits = call.logits.data();
    scores->length = call.logits.size();
    return 0;
  };
  std::vector<SemidHit> hits(results);
  SemidAnswer answer = {};
  const SemidFilter *filters[] = {filter.get()};
  SemidStatus status = semid_search(&search, filters, 1, hits.data(), hits.size(), &answer);
  if (call.error) std::rethrow_exception(call.error);
  check(status);
  hits.resize(answer.hits);
  return hits;
}

}  // namespace semid

namespace {

void expect(bool condition, const char *what) {
  if (!condition) throw std::runtime_error(std::string("expected ") + what);
}

void run(const char *path) {
  auto index = semid::make<semid::Index>(semid_index_open, path, nullptr);
  const uint32_t firsts[] = {100, 104};
  const size_t vocabulary = 108;
  auto tokens = semid::make<semid::Tokens>(semid_tokens_ranges, index.get(), firsts, size_t{2}, vocabulary);

  // Likes high codes.
  auto model = [&](const SemidRow *, size_t count) {
    std::vector<float> logits(count * vocabulary);
    for (size_t at = 0; at < logits.size(); at++) logits[at] = static_cast<float>(at % 4);
    return logits;
  };
  auto hits = semid::search(index, tokens, nullptr, 2, model);
  expect(hits.size() == 2 && semid::key(index, hits[0].item) == "bed", "bed first");

  const char *lights[] = {"lamp", "torch"};
  auto filter = semid::make<semid::Filter>(semid_filter_allow_keys, index.get(), lights, size_t{2});
  hits = semid::search(index, tokens, filter, 2, model);
  expect(hits.size() == 2 && semid::key(index, hits[0].item) == "torch", "torch first");

  auto session = semid::make<semid::Session>(semid_session_open, index.get(), tokens.get(), nullptr);
  auto fork = semid::make<semid::Session>(semid_session_fork, session.get());
  const uint32_t desk[] = {101, 104};
  for (uint32_t token : desk) semid::check(semid_session_advance(fork.get(), nullptr, &token, 1));
  uint32_t item = 0;
  size_t count = 0;
  semid::check(semid_session_items(fork.get(), 0, &item, 1, &count));
  expect(count == 1 && semid::key(index, item) == "desk", "the desk");

  try {
    semid::search(index, tokens, nullptr, 1, [](const SemidRow *, size_t) -> std::vector<float> {
      throw std::domain_error("no model");
    });
    expect(false, "the model's exception");
  } catch (const std::domain_error &) {
  }
}

}  // namespace

int main(int count, char **arguments) {
  try {
    expect(count == 2, "an index");
    run(arguments[1]);
  } catch (const std::exception &error) {
    std::cerr << "recommend: " << error.what() << '\n';
    return 1;
  }
}
