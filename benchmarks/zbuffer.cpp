// A z-buffer for one thread, written for the vector units: the bar that the benchmarks set.
//
// Faces are looped over; within a face's pixel bounds its three edge functions are evaluated
// row by row, LANES pixels at a time, and 1/z, which is linear on screen, is compared with the
// nearest so far. Both sides of a face are drawn, edges belong to their face, and of faces that tie
// the one that looks at the camera is seen, then the one of lower id: the rules of jaxrender's
// `rasterize_hard`, without near plane clipping.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace {

constexpr int LANES = 8;      // pixels per step; rows are padded to a multiple of it
constexpr std::int32_t NO_FACE = -1;
constexpr std::int32_t BACK = 1 << 30;  // added to the id of a back: of a tie the lowest key is seen

// Narrows [low, high] to the pixels whose centres a span of pixel coordinates covers.
inline void pixel_bounds(float a, float b, float c, int size, int& low, int& high) {
  const float least = std::min(a, std::min(b, c));
  const float most = std::max(a, std::max(b, c));
  low = static_cast<int>(std::ceil(std::clamp(least, 0.0f, static_cast<float>(size))));
  high = static_cast<int>(std::floor(std::clamp(most, -1.0f, static_cast<float>(size - 1))));
}

// Exchanges two numbers by moves that depend on a condition: which way a face lies is random, and
// a jump would be guessed wrong half of the time.
inline void swap_if(bool condition, float& a, float& b) {
  const float kept = a;
  a = condition ? b : a;
  b = condition ? kept : b;
}

// Sorts the corners of a face by where they lie, so that its copies in another order get the same
// bits; returns whether they go round the other way then.
inline bool sort_corners(float x[3], float y[3], float z[3]) {
  bool turned = false;
  for (const int a : {0, 1, 0}) {
    const int b = a + 1;
    const bool apart =
        (z[a] < z[b]) | ((z[a] == z[b]) & ((x[a] > x[b]) | ((x[a] == x[b]) & (y[a] > y[b]))));
    swap_if(apart, x[a], x[b]);
    swap_if(apart, y[a], y[b]);
    swap_if(apart, z[a], z[b]);
    turned ^= apart;
  }
  return turned;
}

}  // namespace

// Rasterises one mesh in screen space.
//
//   vertices  [V, 3]: x and y in [-1, 1] across the picture, y up; z the depth
//   faces     [F, 3]: vertex indices
//   face      [H, W]: out, the nearest face or NO_FACE
//   depth     [H, W]: out, its depth, or `far` where there is none
extern "C" void zbuffer(const float* vertices, const std::int32_t* faces, int face_count, int height,
                        int width, float near, float far, std::int32_t* face, float* depth) {
  // Clear the padded buffers; they are kept from call to call.
  thread_local std::vector<float> nearest;
  thread_local std::vector<std::int32_t> keys;
  const int stride = (width + LANES - 1) / LANES * LANES;
  const float limit = 1.0f / near;
  nearest.assign(static_cast<std::size_t>(stride) * height, 1.0f / far);
  keys.assign(static_cast<std::size_t>(stride) * height, NO_FACE);

  for (int f = 0; f < face_count; ++f) {
    // Move the corners to pixel coordinates: the centre of pixel (i, j) is (j, i), y down.
    float x[3], y[3], z[3];
    for (int k = 0; k < 3; ++k) {
      const float* v = vertices + 3 * faces[3 * f + k];
      x[k] = 0.5f * (v[0] * width + width - 1);
      y[k] = 0.5f * (height - 1 - v[1] * height);
      z[k] = v[2];
    }
    const bool turned = sort_corners(x, y, z);

    // Find the rows and columns of pixels that the face can touch.
    int left, right, top, bottom;
    pixel_bounds(x[0], x[1], x[2], width, left, right);
    pixel_bounds(y[0], y[1], y[2], height, top, bottom);
    const float area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]);
    if (left > right || top > bottom || area == 0.0f) continue;
    const std::int32_t key = (area < 0.0f) != turned ? f : f + BACK;
    left = left / LANES * LANES;

    // Divide once per face: edge k, from corner k, weighs the corner after its end.
    float dx[3], dy[3], weight[3];
    const float sign = area > 0.0f ? 1.0f : -1.0f;
    for (int k = 0; k < 3; ++k) {
      dx[k] = sign * (x[(k + 1) % 3] - x[k]);
      dy[k] = sign * (y[(k + 1) % 3] - y[k]);
      weight[k] = sign / (area * z[(k + 2) % 3]);
    }

    for (int row = top; row <= bottom; ++row) {
      float* nearest_row = nearest.data() + static_cast<std::size_t>(row) * stride;
      std::int32_t* key_row = keys.data() + static_cast<std::size_t>(row) * stride;
      const float r0 = (row - y[0]) * dx[0];
      const float r1 = (row - y[1]) * dx[1];
      const float r2 = (row - y[2]) * dx[2];
      for (int start = left; start <= right; start += LANES) {
#pragma GCC ivdep
        for (int lane = 0; lane < LANES; ++lane) {
          const int j = start + lane;
          const float column = static_cast<float>(j);
          const float e0 = r0 - (column - x[0]) * dy[0];
          const float e1 = r1 - (column - x[1]) * dy[1];
          const float e2 = r2 - (column - x[2]) * dy[2];
          const float inverse = e0 * weight[0] + e1 * weight[1] + e2 * weight[2];
          const bool nearer = (inverse > nearest_row[j]) |
                              ((inverse == nearest_row[j]) & (key < key_row[j]));
          const bool hit = (e0 >= 0.0f) & (e1 >= 0.0f) & (e2 >= 0.0f) &
                           nearer & (inverse < limit);
          nearest_row[j] = hit ? inverse : nearest_row[j];
          key_row[j] = hit ? key : key_row[j];
        }
      }
    }
  }

  // Convert 1/z to depth and drop the padding.
  for (int row = 0; row < height; ++row) {
    const float* nearest_row = nearest.data() + static_cast<std::size_t>(row) * stride;
    const std::int32_t* key_row = keys.data() + static_cast<std::size_t>(row) * stride;
    float* depth_row = depth + static_cast<std::size_t>(row) * width;
    std::int32_t* face_row = face + static_cast<std::size_t>(row) * width;
    for (int j = 0; j < width; ++j) {
      face_row[j] = key_row[j] == NO_FACE ? NO_FACE : key_row[j] & (BACK - 1);
      depth_row[j] = key_row[j] == NO_FACE ? far : 1.0f / nearest_row[j];
    }
  }
}
