/* Attention, softmax(scale q k^T) v, in bfloat16 on a processor with AMX or AVX512-BF16.

The products are cheap: AMX multiplies a tile of [16 32] numbers by one of [32 16] in 16 cycles.
Most of the time goes to an exponential for every pair of a query and a key, and to memory. So 32
queries meet 32 keys at a time, and their 1024 scores are used before they leave the nearest cache:
the matrix of all scores is never stored (flash attention, arXiv:2205.14135). Three more things keep
the work between two products short:

- A softmax subtracts the largest score, so that no power overflows. But any number r cancels:

      out = sum_j 2^(s_j - r) v_j / sum_j 2^(s_j - r)

  Both types reach to 2^127, so r need only be near the largest: it is the largest of a query's
  first 32 scores, and nothing is rescaled on the way. Where a sum comes to 2^64 all the same, r is
  looked for among all keys, and those queries are done again.
- The sum below the line is the product with one more column of v, which holds ones.
- A weight becomes a bfloat16, so its power of two need not be better than that.

attention.py compiles this file and calls `attend`; tests/acceleration/test_attention.py holds it to the
formula. */

#ifdef TILES_IN_C
#include TILES_IN_C /* the instructions below as plain C, for the tests on any processor */
#else
#include <immintrin.h>
#endif
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint16_t bf16;

/* A tensor [batch head token d]: where it starts, and its strides in numbers. The numbers of a
   token lie side by side. */
typedef struct {
  bf16 *data;
  int64_t batch, head, token;
} Rows;

enum {
  TILE = 16 * 32, /* numbers: 16 rows, or in a right factor 16 pairs of rows, each pair in turn */
  BLOCK = 32,     /* queries, or keys, that meet at a time: two tiles */
  CHUNKS = 8,     /* blocks of keys whose weights are collected, to meet v together */
};
static const float TOO_LARGE = 0x1p64f, LOG2_E = 1.44269504f;

/* What one thread works on: the keys and values of a head and 32 of its queries, in tiles. */
typedef struct {
  int64_t d, depth, width; /* size of a head; its tiles in q and k; those of v with the ones */
  int64_t chunks;          /* blocks of keys */
  float scale;             /* of the exponent of 2 */
  bf16 *q, *k;             /* tiles [2 depth], [2*chunks depth] */
  bf16 *v, *weights;       /* tiles [width chunks], [2 CHUNKS] */
  float *scores;           /* [32 32] */
  float *reference;        /* [32] */
  float *out;              /* [32 16*width]; column d is the sum of the weights */
} Work;

static inline int64_t ceil_div(int64_t n, int64_t size) { return (n + size - 1) / size; }
static inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }

/* 2^t within 1.1e-4: a cubic for the fraction of t, then its whole part goes into the exponent. */
static inline __m512 exp2_ps(__m512 t) {
  const __m512 fraction = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_set1_ps(0.07826795f);
  p = _mm512_fmadd_ps(p, fraction, _mm512_set1_ps(0.22630771f));
  p = _mm512_fmadd_ps(p, fraction, _mm512_set1_ps(0.69542434f));
  p = _mm512_fmadd_ps(p, fraction, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, t);
}

/* c [32 32] = a b, or c += a b; `two` says whether b and c have a second column of tiles.
   Two rows of tiles of a, `a_next` apart, and two columns of b. */
#ifdef __AMX_BF16__ /* four products of tiles for four loads */
static inline void multiply(const bf16 *a, int64_t a_next, const bf16 *b, int64_t b_next,
                            int64_t steps, float *c, int64_t c_row, int add, int two) {
  __asm__ volatile("" ::: "memory"); /* GCC does not know that a load of a tile reads memory */
  float *lower = c + 16 * c_row;
  const int64_t row = c_row * sizeof(float);
  if (add) {
    _tile_loadd(0, c, row);
    _tile_loadd(2, lower, row);
    if (two) {
      _tile_loadd(1, c + 16, row);
      _tile_loadd(3, lower + 16, row);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t i = 0; i < steps; i++, a += TILE, b += TILE) {
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_loadd(5, a + a_next, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(2, 5, 6);
    if (two) {
      _tile_loadd(7, b + b_next, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, row);
  _tile_stored(2, lower, row);
  if (two) {
    _tile_stored(1, c + 16, row);
    _tile_stored(3, lower + 16, row);
  }
}
#else /* AVX-512: 8 rows of c and both columns stay in registers, 16 dot products for 10 loads */
enum { ROWS = 8 };

static inline __attribute__((always_inline)) void
multiply_rows(const bf16 *a, const bf16 *b, int64_t b_next, int64_t steps, float *c, int64_t c_row,
              int add, const int columns) {
  __m512 sums[2][ROWS];
  for (int column = 0; column < columns; column++)
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
      sums[column][r] = add ? _mm512_load_ps(c + r * c_row + 16 * column) : _mm512_set1_ps(0);
  for (int64_t i = 0; i < steps; i++, a += TILE, b += TILE)
    for (int pair = 0; pair < 16; pair++) {
      const __m512bh left = (__m512bh)_mm512_load_si512(b + 32 * pair);
      const __m512bh right = (__m512bh)_mm512_load_si512(b + (columns - 1) * b_next + 32 * pair);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++) {
        int32_t both;
        memcpy(&both, a + 32 * r + 2 * pair, sizeof both);
        const __m512bh each = (__m512bh)_mm512_set1_epi32(both);
        sums[0][r] = _mm512_dpbf16_ps(sums[0][r], each, left);
        if (columns == 2) sums[1][r] = _mm512_dpbf16_ps(sums[1][r], each, right);
      }
    }
  for (int column = 0; column < columns; column++)
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) _mm512_store_ps(c + r * c_row + 16 * column, sums[column][r]);
}

static inline void multiply(const bf16 *a, int64_t a_next, const bf16 *b, int64_t b_next,
                            int64_t steps, float *c, int64_t c_row, int add, int two) {
  for (int row = 0; row < BLOCK; row += ROWS, c += ROWS * c_row) {
    const bf16 *rows = a + row / 16 * a_next + row % 16 * 32;
    if (two)
      multiply_rows(rows, b, b_next, steps, c, c_row, add, 2);
    else
      multiply_rows(rows, b, b_next, steps, c, c_row, add, 1);
  }
}
#endif

/* A left factor: rows of 32 numbers. */
static void tile_queries(const Work *w, const bf16 *q, int64_t token, int64_t n) {
  for (int64_t r = 0; r < n; r++)
    for (int64_t i = 0; i < w->d; i += 32)
      memcpy(w->q + (r / 16 * w->depth + i / 32) * TILE + r % 16 * 32, q + r * token + i,
             min(w->d - i, 32) * sizeof(bf16));
}

/* A right factor, k^T: pairs of numbers of 16 keys side by side. The last key stands in for those
   that a block lacks, so that no score is out of range; their values are zeros, and so they count
   for nothing. */
static void tile_keys(const Work *w, const bf16 *k, int64_t token, int64_t m) {
  for (int64_t j = 0; j < w->chunks * BLOCK; j++) {
    const bf16 *row = k + min(j, m - 1) * token;
    bf16 *to = w->k + j / 16 * w->depth * TILE + j % 16 * 2;
    for (int64_t i = 0; i < w->d; i += 2) memcpy(to + i * 16, row + i, 2 * sizeof(bf16));
  }
}

/* A right factor, v and a column of ones: 16 numbers of a pair of tokens, in turn. */
static void tile_values(const Work *w, const bf16 *v, int64_t token, int64_t m) {
  const uint32_t one = 0x3f80;
  const int64_t next_column = w->chunks * TILE / 2;
  for (int64_t j = 0; j < m; j += 2) {
    const int pair = j + 1 < m;
    const bf16 *row = v + j * token, *next = pair ? row + token : row;
    const uint32_t both = pair ? 0xffffffff : 0xffff;
    uint32_t *to = (uint32_t *)(w->v + j / 32 * TILE + j % 32 / 2 * 32);
    for (int64_t i = 0; i < w->d; i += 16) {
      const int64_t some = min(w->d - i, 16);
      for (int64_t c = 0; c < some; c++)
        to[i / 16 * next_column + c] = ((uint32_t)next[i + c] << 16 | row[i + c]) & both;
    }
    to[w->d / 16 * next_column + w->d % 16] = (one << 16 | one) & both;
  }
}

/* Of 32 queries and one block of keys. */
static inline void score(const Work *w, int64_t block) {
  const int64_t next = w->depth * TILE;
  multiply(w->q, next, w->k + 2 * block * next, next, w->depth, w->scores, BLOCK, 0, 1);
}

/* The largest score of each query, among some blocks of keys. */
static void refer(const Work *w, int64_t blocks) {
  for (int64_t block = 0; block < blocks; block++) {
    score(w, block);
    for (int r = 0; r < BLOCK; r++) {
      const float *s = w->scores + r * BLOCK;
      const __m512 both = _mm512_max_ps(_mm512_load_ps(s), _mm512_load_ps(s + 16));
      const float top = w->scale * _mm512_reduce_max_ps(both);
      if (block == 0 || top > w->reference[r]) w->reference[r] = top;
    }
  }
}

/* Scores -> weights, which are tiles of a left factor again. */
static inline void weigh(const Work *w, bf16 *weights) {
  const __m512 scale = _mm512_set1_ps(w->scale);
  const float *scores = w->scores, *references = w->reference;
#pragma GCC unroll 4
  for (int r = 0; r < BLOCK; r++) {
    const float *s = scores + r * BLOCK;
    const __m512 reference = _mm512_set1_ps(references[r]);
    const __m512 low = exp2_ps(_mm512_fmsub_ps(_mm512_load_ps(s), scale, reference));
    const __m512 high = exp2_ps(_mm512_fmsub_ps(_mm512_load_ps(s + 16), scale, reference));
    bf16 *to = weights + r / 16 * CHUNKS * TILE + r % 16 * 32;
    _mm512_store_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
}

/* All keys for 32 queries. Returns whether the sums of the first n stayed in range; a NaN is out. */
static int meet(const Work *w, int64_t n) {
  const int64_t row = w->width * 16;
  for (int64_t first = 0; first < w->chunks; first += CHUNKS) {
    const int64_t some = min(CHUNKS, w->chunks - first);
    for (int64_t i = 0; i < some; i++) {
      score(w, first + i);
      weigh(w, w->weights + i * TILE);
    }
    for (int64_t i = 0; i < w->width; i += 2)
      multiply(w->weights, CHUNKS * TILE, w->v + (i * w->chunks + first) * TILE, w->chunks * TILE,
               some, w->out + i * 16, row, first > 0, i + 1 < w->width);
  }
  int in_range = 1;
  for (int64_t r = 0; r < n; r++) in_range &= w->out[r * row + w->d] < TOO_LARGE;
  return in_range;
}

/* Divide by the sum, and round. */
static void divide(const Work *w, bf16 *to, int64_t token, int64_t n) {
  for (int64_t r = 0; r < n; r++) {
    const float *from = w->out + r * w->width * 16;
    const __m512 factor = _mm512_set1_ps(1.0f / from[w->d]);
    for (int64_t i = 0; i < w->d; i += 16) {
      const __m512i some = (__m512i)_mm512_cvtne2ps_pbh(factor, _mm512_load_ps(from + i) * factor);
      _mm512_mask_storeu_epi16(to + r * token + i, (1u << min(w->d - i, 16)) - 1, some);
    }
  }
}

#ifdef __AMX_BF16__
static void configure_tiles(void) {
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_of_a_row[16];
    uint8_t rows[16];
  } config = {.palette = 1};
  for (int i = 0; i < 8; i++) config.bytes_of_a_row[i] = 64, config.rows[i] = 16;
  _tile_loadconfig(&config);
}
static void release_tiles(void) { _tile_release(); }
#else
static void configure_tiles(void) {}
static void release_tiles(void) {}
#endif

/* `shape`: batch, heads, queries n, keys m, d, an even number. Returns 1 when there was no memory,
   else 0. Threads share the blocks of queries out; each puts into tiles what it meets, so none waits
   for another. */
int attend(const Rows *q, const Rows *k, const Rows *v, const Rows *out, const int64_t *shape,
           float scale) {
  const int64_t heads = shape[1], n = shape[2], m = shape[3], d = shape[4];
  const int64_t depth = ceil_div(d, 32), width = ceil_div(d + 1, 16), chunks = ceil_div(m, BLOCK);
  const int64_t blocks = ceil_div(n, BLOCK), items = shape[0] * heads * blocks;
  const size_t tiles = 2 * chunks * depth + width * chunks + 2 * depth + 2 * CHUNKS;
  const size_t bytes = tiles * TILE * sizeof(bf16);
  const size_t floats = BLOCK * BLOCK + BLOCK * width * 16 + BLOCK;
  int no_memory = 0;
#pragma omp parallel
  {
    Work w = {.d = d, .depth = depth, .width = width, .chunks = chunks, .scale = scale * LOG2_E};
    w.k = aligned_alloc(64, bytes + floats * sizeof(float));
    if (w.k) {
      memset(w.k, 0, bytes); /* what heads and blocks of keys do not fill stays zero */
      w.v = w.k + 2 * chunks * depth * TILE;
      w.q = w.v + width * chunks * TILE;
      w.weights = w.q + 2 * depth * TILE;
      w.scores = (float *)(w.weights + 2 * CHUNKS * TILE);
      w.out = w.scores + BLOCK * BLOCK;
      w.reference = w.out + BLOCK * width * 16;
      configure_tiles();
    } else {
#pragma omp atomic write
      no_memory = 1;
    }
    int64_t in_tiles = -1; /* whose keys and values are */
#pragma omp for schedule(static)
    for (int64_t item = 0; item < items; item++) {
      if (!w.k) continue;
      const int64_t row = item / blocks, b = row / heads, h = row % heads;
      const int64_t first = item % blocks * BLOCK, some = min(n - first, BLOCK);
      if (row != in_tiles) {
        tile_keys(&w, k->data + b * k->batch + h * k->head, k->token, m);
        tile_values(&w, v->data + b * v->batch + h * v->head, v->token, m);
        in_tiles = row;
      }
      tile_queries(&w, q->data + b * q->batch + h * q->head + first * q->token, q->token, some);
      refer(&w, 1);
      if (!meet(&w, some)) {
        refer(&w, chunks);
        meet(&w, some);
      }
      divide(&w, out->data + b * out->batch + h * out->head + first * out->token, out->token, some);
    }
    if (w.k) release_tiles();
    free(w.k);
  }
  return no_memory;
}
