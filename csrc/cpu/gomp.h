// The calls of GNU's OpenMP runtime that our loops use and that gomp.cc answers.
#pragma once

extern "C" {
// f(data) by n threads, the caller among them; 0: as many as it may have.
void GOMP_parallel(void (*f)(void*), void* data, unsigned n, unsigned flags);
// The same in two halves, between which the caller calls f itself.
void GOMP_parallel_start(void (*f)(void*), void* data, unsigned n);
void GOMP_parallel_end();
// Waits until all threads of the region are here.
void GOMP_barrier();

int omp_get_thread_num();
int omp_get_num_threads();
int omp_in_parallel();
// How many threads a region begun by this thread may have.
int omp_get_max_threads();
void omp_set_num_threads(int n);
}
