/* Attention, softmax(scale q k^T) v, in bfloat16 on a processor with AMX or AVX512-BF16, and with
-DFLOAT32 in float32 on one with AVX-512.

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
- In bfloat16 a weight is rounded to 8 bits, so its power of two need not be better than that.

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

#ifdef FLOAT32
typedef float number;
static const number ONE = 1.0f;
enum { PAIR = 1 };
#else
typedef uint16_t number; /* a bfloat16 */
static const number ONE = 0x3f80;
enum { PAIR = 2 };       /* numbers in 32 bits, a lane of a register */
#endif

/* A tensor [batch head token d]: where it starts, and its strides in numbers. The numbers of a
   token lie side by side. */
typedef struct {
  number *data;
  int64_t batch, head, token;
} Rows;

enum {
  ROW = 16 * PAIR,     /* numbers in 64 bytes, a row of a tile */
  TILE = 16 * ROW,     /* 16 rows of a left factor; 16 columns of a right one, its lanes in turn */
  BLOCK = 32,          /* queries, or keys, that meet at a time */
  DEEP = BLOCK / ROW,  /* tiles of a left factor that hold the weights of a block of keys */
  CHUNKS = 8 / DEEP,   /* blocks of keys whose weights are collected, to meet v together */
};
static const float TOO_LARGE = 0x1p64f, LOG2_E = 1.44269504f;

/* What one thread works on: the keys and values of a head and 32 of its queries, in tiles. */
typedef struct {
  int64_t d, depth, width; /* size of a head; its tiles in q and k; those of v with the ones */
  int64_t chunks;          /* blocks of keys */
  float scale;             /* of the exponent of 2 */
  number *q, *k;           /* tiles [2 depth], [2*chunks depth] */
  number *v, *weights;     /* tiles [width DEEP*chunks], [2 DEEP*CHUNKS] */
  float *scores;           /* [32 32] */
  float *reference;        /* [32] */
  float *out;              /* [32 16*width]; column d is the sum of the weights */
} Work;

static inline int64_t ceil_div(int64_t n, int64_t size) { return (n + size - 1) / size; }
static inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }

/* 2^t within 1.1e-4, in float32 within 1e-7: a polynomial for the fraction of t, then its whole part
   goes into the exponent. */
static inline __m512 exp2_ps(__m512 t) {
#ifdef FLOAT32
  static const float factors[] = {2.1702256e-4f, 1.2439688e-3f, 9.678841e-3f, 5.5483342e-2f,
                                  0.24022984f,   0.69314698f,   1.0f};
#else
  static const float factors[] = {0.07826795f, 0.22630771f, 0.69542434f, 1.0f};
#endif
  const __m512 fraction = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_set1_ps(factors[0]);
#pragma GCC unroll 8
  for (size_t i = 1; i < sizeof factors / sizeof *factors; i++)
    p = _mm512_fmadd_ps(p, fraction, _mm512_set1_ps(factors[i]));
  return _mm512_scalef_ps(p, t);
}

/* c [32 32] = a b, or c += a b; `two` says whether b and c have a second column of tiles.
   Two rows of tiles of a, `a_next` apart, and two columns of b; `depth` is the length of a row of a,
   in numbers. */
#ifdef __AMX_BF16__ /* four products of tiles for four loads */
static inline void multiply(const number *a, int64_t a_next, const number *b, int64_t b_next,
                            int64_t depth, float *c, int64_t c_row, int add, int two) {
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
  for (int64_t i = 0; i < depth; i += ROW, a += TILE, b += TILE) {
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

#ifdef FLOAT32
typedef __m512 lanes;
static inline lanes repeat(const number *a) { return _mm512_set1_ps(*a); }
static inline __m512 dot(__m512 sum, lanes a, lanes b) { return _mm512_fmadd_ps(a, b, sum); }
#else
typedef __m512bh lanes;
static inline lanes repeat(const number *a) {
  int32_t both;
  memcpy(&both, a, sizeof both);
  return (lanes)_mm512_set1_epi32(both);
}
static inline __m512 dot(__m512 sum, lanes a, lanes b) { return _mm512_dpbf16_ps(sum, a, b); }
#endif

static inline __attribute__((always_inline)) void
multiply_rows(const number *a, const number *b, int64_t b_next, int64_t depth, float *c,
              int64_t c_row, int add, const int columns) {
  __m512 sums[2][ROWS] = {{{0}}};
  for (int64_t first = 0; first < depth; first += ROW, a += TILE - ROW)
    for (int64_t i = first; i < min(first + ROW, depth); i += PAIR, a += PAIR, b += ROW) {
      const lanes left = (lanes)_mm512_load_si512(b);
      const lanes right = (lanes)_mm512_load_si512(b + (columns - 1) * b_next);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++) {
        const lanes each = repeat(a + r * ROW);
        sums[0][r] = dot(sums[0][r], each, left);
        if (columns == 2) sums[1][r] = dot(sums[1][r], each, right);
      }
    }
  for (int column = 0; column < columns; column++)
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
      float *to = c + r * c_row + 16 * column; /* a sum of sums is rounded less than one long sum */
      if (add) sums[column][r] += _mm512_load_ps(to);
      _mm512_store_ps(to, sums[column][r]);
    }
}

static inline void multiply(const number *a, int64_t a_next, const number *b, int64_t b_next,
                            int64_t depth, float *c, int64_t c_row, int add, int two) {
  for (int row = 0; row < BLOCK; row += ROWS, c += ROWS * c_row) {
    const number *rows = a + row / 16 * a_next + row % 16 * ROW;
    if (two)
      multiply_rows(rows, b, b_next, depth, c, c_row, add, 2);
    else
      multiply_rows(rows, b, b_next, depth, c, c_row, add, 1);
  }
}
#endif

/* A left factor: rows of 64 bytes. */
static void tile_queries(const Work *w, const number *q, int64_t token, int64_t n) {
  for (int64_t r = 0; r < n; r++)
    for (int64_t i = 0; i < w->d; i += ROW)
      memcpy(w->q + (r / 16 * w->depth + i / ROW) * TILE + r % 16 * ROW, q + r * token + i,
             min(w->d - i, ROW) * sizeof(number));
}

/* A right factor, k^T: lanes of 16 keys side by side. The last key stands in for those
   that a block lacks, so that no score is out of range; their values are zeros, and so they count
   for nothing. */
static void tile_keys(const Work *w, const number *k, int64_t token, int64_t m) {
  for (int64_t j = 0; j < w->chunks * BLOCK; j++) {
    const number *row = k + min(j, m - 1) * token;
    number *to = w->k + j / 16 * w->depth * TILE + j % 16 * PAIR;
    for (int64_t i = 0; i < w->d; i += PAIR) memcpy(to + i * 16, row + i, PAIR * sizeof(number));
  }
}

/* A right factor, v and a column of ones: of the tokens in a lane 16 numbers each, in turn. */
static void tile_values(const Work *w, const number *v, int64_t token, int64_t m) {
  for (int64_t j = 0; j < m; j++)
    for (int64_t i = 0; i <= w->d; i++) {
      number *to = w->v + i / 16 * w->chunks * DEEP * TILE + j / ROW * TILE;
      to[j % ROW / PAIR * ROW + i % 16 * PAIR + j % PAIR] = i < w->d ? v[j * token + i] : ONE;
    }
}

/* Of 32 queries and one block of keys; a sum of more than 128 products is a sum of several. */
static inline void score(const Work *w, int64_t block) {
  const int64_t next = w->depth * TILE, most = 128;
  const number *k = w->k + 2 * block * next;
  for (int64_t i = 0; i < w->d; i += most)
    multiply(w->q + i * 16, next, k + i * 16, next, min(w->d - i, most), w->scores, BLOCK, i > 0, 1);
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
static inline void weigh(const Work *w, number *weights) {
  const __m512 scale = _mm512_set1_ps(w->scale);
  const float *scores = w->scores, *references = w->reference;
#pragma GCC unroll 4
  for (int r = 0; r < BLOCK; r++) {
    const float *s = scores + r * BLOCK;
    const __m512 reference = _mm512_set1_ps(references[r]);
    const __m512 low = exp2_ps(_mm512_fmsub_ps(_mm512_load_ps(s), scale, reference));
    const __m512 high = exp2_ps(_mm512_fmsub_ps(_mm512_load_ps(s + 16), scale, reference));
    number *to = weights + r / 16 * CHUNKS * DEEP * TILE + r % 16 * ROW;
#ifdef FLOAT32
    _mm512_store_ps(to, low);
    _mm512_store_ps(to + TILE, high);
#else
    _mm512_store_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
#endif
  }
}

/* All keys for 32 queries. Returns whether the sums of the first n stayed in range; a NaN is out. */
static int meet(const Work *w, int64_t n) {
  const int64_t row = w->width * 16, next = w->chunks * DEEP * TILE;
  for (int64_t first = 0; first < w->chunks; first += CHUNKS) {
    const int64_t some = min(CHUNKS, w->chunks - first);
    for (int64_t i = 0; i < some; i++) {
      score(w, first + i);
      weigh(w, w->weights + i * DEEP * TILE);
    }
    for (int64_t i = 0; i < w->width; i += 2)
      multiply(w->weights, CHUNKS * DEEP * TILE, w->v + i * next + first * DEEP * TILE, next,
               some * BLOCK, w->out + i * 16, row, first > 0, i + 1 < w->width);
  }
  int in_range = 1;
  for (int64_t r = 0; r < n; r++) in_range &= w->out[r * row + w->d] < TOO_LARGE;
  return in_range;
}

/* Divide by the sum, and round. */
static void divide(const Work *w, number *to, int64_t token, int64_t n) {
  for (int64_t r = 0; r < n; r++) {
    const float *from = w->out + r * w->width * 16;
    const __m512 factor = _mm512_set1_ps(1.0f / from[w->d]);
    for (int64_t i = 0; i < w->d; i += 16) {
      const __m512 result = _mm512_load_ps(from + i) * factor;
      const uint32_t mask = (1u << min(w->d - i, 16)) - 1;
#ifdef FLOAT32
      _mm512_mask_storeu_ps(to + r * token + i, mask, result);
#else
      const __m512i some = (__m512i)_mm512_cvtne2ps_pbh(factor, result);
      _mm512_mask_storeu_epi16(to + r * token + i, mask, some);
#endif
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

/* `shape`: batch, heads, queries n, keys m, d, in bfloat16 an even number. Returns 1 when there was no memory,
   else 0. Threads share the blocks of queries out; each puts into tiles what it meets, so none waits
   for another. */
int attend(const Rows *q, const Rows *k, const Rows *v, const Rows *out, const int64_t *shape,
           float scale) {
  const int64_t heads = shape[1], n = shape[2], m = shape[3], d = shape[4];
  const int64_t depth = ceil_div(d, ROW), width = ceil_div(d + 1, 16), chunks = ceil_div(m, BLOCK);
  const int64_t blocks = ceil_div(n, BLOCK), items = shape[0] * heads * blocks;
  const size_t tiles = 2 * (chunks + 1) * depth + DEEP * (width * chunks + 2 * CHUNKS);
  const size_t bytes = tiles * TILE * sizeof(number);
  const size_t floats = BLOCK * BLOCK + BLOCK * width * 16 + BLOCK;
  int no_memory = 0;
#pragma omp parallel
  {
    Work w = {.d = d, .depth = depth, .width = width, .chunks = chunks, .scale = scale * LOG2_E};
    w.k = aligned_alloc(64, bytes + floats * sizeof(float));
    if (w.k) {
      memset(w.k, 0, bytes); /* what heads and blocks of keys do not fill stays zero */
      w.v = w.k + 2 * chunks * depth * TILE;
      w.q = w.v + width * chunks * DEEP * TILE;
      w.weights = w.q + 2 * depth * TILE;
      w.scores = (float *)(w.weights + 2 * CHUNKS * DEEP * TILE);
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
