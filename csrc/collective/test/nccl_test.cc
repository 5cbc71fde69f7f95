// libtrtact_nccl.so over a NCCL of the tests' own, its processes being threads.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "trtact/collective.h"

namespace {

constexpr int ranks = 3;

#define REQUIRE(what)                                                  \
  do {                                                                 \
    if (!(what)) {                                                     \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);  \
      std::abort();                                                    \
    }                                                                  \
  } while (0)

void* symbol(const char* library, const char* name) {
  void* l = dlopen(library, RTLD_NOW);
  if (l == nullptr) std::fprintf(stderr, "%s\n", dlerror());
  REQUIRE(l != nullptr);
  void* s = dlsym(l, name);
  REQUIRE(s != nullptr);
  return s;
}

trtact_group* join(const trtact_collective* c, const trtact_collective_id& id, int rank) {
  trtact_collective_place p{rank, ranks, rank, id};
  trtact_group* g = nullptr;
  trtact_error e{};
  if (c->join(&p, &g, &e) != 0) std::fprintf(stderr, "%s\n", e.text);
  REQUIRE(g != nullptr && c->rank(g) == rank && c->size(g) == ranks);
  return g;
}

void together(const trtact_collective* c, trtact_group* g) {
  trtact_error e{};
  int32_t all = 0;
  while (all == 0) REQUIRE(c->arrive(g, 5, &all, &e) == 0);
}

void work(const trtact_collective* c, const trtact_collective_id& id, int rank) {
  trtact_group* g = join(c, id, rank);
  trtact_error e{};
  if (rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(50)); // the others wait
  together(c, g);
  double sums[] = {1, static_cast<double>(rank), 1e-9};
  REQUIRE(c->all_reduce(g, sums, 3, TRTACT_COLLECTIVE_FLOAT64, TRTACT_COLLECTIVE_SUM, TRTACT_COLLECTIVE_HOST, &e) == 0);
  REQUIRE(sums[0] == 3 && sums[1] == 3 && sums[2] == 1e-9 + 1e-9 + 1e-9);
  float most[] = {static_cast<float>(rank), -static_cast<float>(rank)};
  REQUIRE(c->all_reduce(g, most, 2, TRTACT_COLLECTIVE_FLOAT32, TRTACT_COLLECTIVE_MAX, TRTACT_COLLECTIVE_HOST, &e) == 0);
  REQUIRE(most[0] == 2 && most[1] == 0);
  std::vector<float> device(1000, static_cast<float>(rank + 1)); // the fake's device memory is the heap
  REQUIRE(c->all_reduce(g, device.data(), device.size(), TRTACT_COLLECTIVE_FLOAT32, TRTACT_COLLECTIVE_SUM, TRTACT_COLLECTIVE_DEVICE, &e) == 0);
  REQUIRE(device[0] == 6 && device[999] == 6);
  std::string text(200000, static_cast<char>('a' + rank));
  REQUIRE(c->broadcast(g, text.data(), text.size(), 1, &e) == 0);
  REQUIRE(text == std::string(200000, 'b'));
  together(c, g);
  c->leave(g, 1);
}

// A process that dies: the others, who wait, end with an error.
void mourn(const trtact_collective* c, const trtact_collective_id& id, int rank) {
  trtact_group* g = join(c, id, rank);
  trtact_error e{};
  if (rank == 2) { // it never comes, and is gone when the others wait already
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    c->leave(g, 0);
    return;
  }
  std::thread news([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(80));
    c->abandon(g);
  });
  int32_t all = 0;
  int code = 0;
  while (code == 0) {
    code = c->arrive(g, 5, &all, &e);
    REQUIRE(all == 0);
  }
  REQUIRE(std::strstr(e.text, "another process is gone") != nullptr);
  float one = 1;
  REQUIRE(c->all_reduce(g, &one, 1, TRTACT_COLLECTIVE_FLOAT32, TRTACT_COLLECTIVE_SUM, TRTACT_COLLECTIVE_HOST, &e) != 0);
  news.join();
  c->leave(g, 0);
}

}  // namespace

int main(int, char** argv) {
  const auto open = reinterpret_cast<const trtact_collective* (*)(uint32_t)>(symbol(argv[1], "trtact_collective_open"));
  const auto alive = reinterpret_cast<long (*)()>(symbol("libnccl.so.2", "fake_alive"));
  REQUIRE(open(TRTACT_COLLECTIVE_ABI + 1) == nullptr);
  const trtact_collective* c = open(TRTACT_COLLECTIVE_ABI);
  REQUIRE(c != nullptr && c->table_size == sizeof(trtact_collective) && c->device_memory == 1);
  trtact_error e{};
  char version[32];
  REQUIRE(c->version(version, sizeof version, &e) == 0 && std::string(version) == "2.28.4");
  trtact_collective_id id;
  REQUIRE(c->make_id(&id, &e) == 0 && id.bytes[127] == 'u');
  trtact_collective_place nowhere{0, 1, 99, id};
  trtact_group* none = nullptr;
  REQUIRE(c->join(&nowhere, &none, &e) != 0 && none == nullptr && std::strstr(e.text, "CUDA") != nullptr);
  for (auto part : {work, mourn}) {
    id.bytes[0]++;
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks; rank++) threads.emplace_back(part, c, id, rank);
    for (auto& t : threads) t.join();
  }
  REQUIRE(alive() == 0);
  std::puts("ok");
}
