// The gradient of NMR on one thread, written for the vector units: the bar that the benchmarks set.
//
// The rule is that of jaxrender's `ops/nmr.py`, whose docstring has the maths and the names: v* is
// `at`, delta is `fall`, and D is `distance`. It is done in the natural order: for each visible
// face, edge, axis and line of pixels, one sweep outwards to the border of the picture and one
// inwards over the face. No face may pass behind the camera.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

constexpr int TILE = 16;  // pixels; pictures are turned in squares that the cache holds

// Pictures as lines of pixels along one axis: columns from below, or rows counted from below.
struct Lines {
  int count, length;
  std::vector<std::int32_t> face;      // [count, length]
  std::vector<float> image, upstream;  // [C, count, length]
};

// One edge on one line.
struct Crossing {
  float at;         // v*
  float levers[2];  // screen units that either end moves per pixel of v*
  float eps;
};

// Calls visit(row from below, column, source index) for all pixels, square by square.
template <typename Visit>
inline void each_pixel(int height, int width, Visit visit) {
  for (int top = 0; top < height; top += TILE) {
    for (int left = 0; left < width; left += TILE) {
      for (int row = top; row < std::min(top + TILE, height); ++row) {
        for (int column = left; column < std::min(left + TILE, width); ++column) {
          visit(height - 1 - row, column, static_cast<std::size_t>(row) * width + column);
        }
      }
    }
  }
}

// Copies pictures into lines; each pixel gets its part of the upstream gradient of its block.
template <int C>
void arrange(Lines& lines, bool columns, int height, int width, int samples,
             const std::int32_t* face, const float* image, const float* upstream) {
  lines.count = columns ? width : height;
  lines.length = columns ? height : width;
  const std::size_t pixels = static_cast<std::size_t>(height) * width;
  lines.face.resize(pixels);
  lines.image.resize(C * pixels);
  lines.upstream.resize(C * pixels);
  const float part = 1.0f / (samples * samples);
  each_pixel(height, width, [&](int row, int column, std::size_t source) {
    const std::size_t target = columns ? static_cast<std::size_t>(column) * height + row
                                       : static_cast<std::size_t>(row) * width + column;
    const std::size_t block =
        static_cast<std::size_t>((height - 1 - row) / samples) * (width / samples) +
        column / samples;
    lines.face[target] = face[source];
    for (int c = 0; c < C; ++c) {
      lines.image[c * pixels + target] = image[C * source + c];
      lines.upstream[c * pixels + target] = part * upstream[C * block + c];
    }
  });
}

// Adds -fall / D of the pixels [first, last) of line u to the pulls on either end. OWN: only of
// the pixels that see face f.
template <int C, bool OWN>
inline void sweep(const Lines& lines, int u, int first, int last, int reference, std::int32_t f,
                  const Crossing& crossing, float* pulls) {
  const std::size_t start = static_cast<std::size_t>(u) * lines.length;
  const std::size_t pixels = static_cast<std::size_t>(lines.count) * lines.length;
  const std::int32_t* face = lines.face.data() + start;
  const float* image[C];
  const float* upstream[C];
  float color[C];
  for (int c = 0; c < C; ++c) {
    image[c] = lines.image.data() + c * pixels + start;
    upstream[c] = lines.upstream.data() + c * pixels + start;
    color[c] = image[c][reference];
  }
  const float at = crossing.at, eps = crossing.eps;
  const float lever_a = crossing.levers[0], lever_b = crossing.levers[1];
  float pull_a = 0.0f, pull_b = 0.0f;
  for (int v = first; v < last; ++v) {
    float fall = 0.0f;
    for (int c = 0; c < C; ++c) fall += (image[c][v] - color[c]) * upstream[c][v];
    const bool counts = (fall > 0.0f) & (!OWN | (face[v] == f));
    fall = counts ? fall : 0.0f;
    const float way = static_cast<float>(v) - at;
    const float distance_a = way * lever_a, distance_b = way * lever_b;
    pull_a += fall / (distance_a + (distance_a > 0.0f ? eps : -eps));
    pull_b += fall / (distance_b + (distance_b > 0.0f ? eps : -eps));
  }
  pulls[0] -= pull_a;
  pulls[1] -= pull_b;
}

// The pulls on the ends a and b of one edge of face f along one axis; c is the third corner. A
// point is (u, v).
template <int C>
inline void one_edge(const Lines& lines, bool columns, std::int32_t f, const float* a,
                     const float* b, const float* c, float eps, float* pulls) {
  const float span = b[0] - a[0];
  if (span == 0.0f) return;
  const int outward = (span > 0.0f) == columns ? -1 : 1;
  const float low = std::min(a[0], b[0]), high = std::max(a[0], b[0]);
  const int first = static_cast<int>(std::ceil(std::max(low, 0.0f)));
  const int last = static_cast<int>(std::min(high, static_cast<float>(lines.count - 1)));
  for (int u = first; u <= last; ++u) {
    // Cross the edge with the line, between two pixels of the picture.
    const float at = a[1] + (b[1] - a[1]) * (u - a[0]) / span;
    if (!(at > -1.0f && at < lines.length)) continue;
    const int inner = static_cast<int>(outward > 0 ? std::floor(at) : std::ceil(at));
    const int outer = inner + outward;
    if (std::min(inner, outer) < 0 || std::max(inner, outer) >= lines.length) continue;

    // Weigh the ends; one that lies on the line gets nothing.
    const float ways[2] = {b[0] - u, u - a[0]};
    Crossing crossing{at, {1.0f, 1.0f}, eps};
    for (int k = 0; k < 2; ++k) {
      if (ways[k] != 0.0f) crossing.levers[k] = span / ways[k] * 2.0f / lines.length;
    }

    // Push the edge out, from the pixel right inside it, over all beyond.
    float moved[2] = {0.0f, 0.0f};
    if (lines.face[static_cast<std::size_t>(u) * lines.length + inner] == f) {
      const int begin = outward > 0 ? outer : 0;
      const int end = outward > 0 ? lines.length : inner;
      sweep<C, false>(lines, u, begin, end, inner, f, crossing, moved);
    }

    // Pull it in, over the face up to its far side.
    const bool from_a = (u - a[0]) * (u - c[0]) < 0.0f;
    const float* start = from_a ? a : c;
    const float rise = from_a ? c[1] - a[1] : b[1] - c[1];
    const float run = from_a ? c[0] - a[0] : b[0] - c[0];
    float limit = 0.0f;
    if (run != 0.0f) {
      limit = start[1] + rise * (u - start[0]) / run;
      limit = outward > 0 ? std::ceil(limit) : std::floor(limit);
    } else if (rise * (u - start[0]) != 0.0f) {
      limit = rise * (u - start[0]) > 0.0f ? lines.length : -1;
    }
    const int far = static_cast<int>(std::clamp(limit, -1.0f, static_cast<float>(lines.length)));
    const int begin = std::max(std::min(inner, far), 0);
    const int end = std::min(std::max(inner, far), lines.length - 1) + 1;
    sweep<C, true>(lines, u, begin, end, outer, f, crossing, moved);
    for (int k = 0; k < 2; ++k) pulls[k] += ways[k] != 0.0f ? moved[k] : 0.0f;
  }
}

template <int C>
void differentiate(const float* vertices, int vertex_count, const std::int32_t* faces,
                   int face_count, int height, int width, int samples, float eps,
                   const std::int32_t* face, const float* image, const float* upstream,
                   float* gradient) {
  // Arrange the pictures both ways, in buffers that are kept from call to call.
  thread_local Lines lines[2];
  for (int axis = 0; axis < 2; ++axis) {
    arrange<C>(lines[axis], axis == 0, height, width, samples, face, image, upstream);
  }

  // Mark the faces that any pixel sees.
  thread_local std::vector<char> visible;
  visible.assign(face_count, 0);
  for (std::size_t k = 0; k < static_cast<std::size_t>(height) * width; ++k) {
    if (face[k] >= 0) visible[face[k]] = 1;
  }

  std::fill(gradient, gradient + 3 * static_cast<std::size_t>(vertex_count), 0.0f);
  for (int f = 0; f < face_count; ++f) {
    if (!visible[f]) continue;

    // Move the corners to pixel coordinates, y up, counter-clockwise.
    int ids[3];
    float points[3][2];
    for (int k = 0; k < 3; ++k) {
      ids[k] = faces[3 * f + k];
      points[k][0] = 0.5f * (vertices[3 * ids[k]] * width + width - 1);
      points[k][1] = 0.5f * (vertices[3 * ids[k] + 1] * height + height - 1);
    }
    const float area = (points[1][0] - points[0][0]) * (points[2][1] - points[0][1]) -
                       (points[2][0] - points[0][0]) * (points[1][1] - points[0][1]);
    if (area < 0.0f) {
      std::swap(ids[0], ids[2]);
      std::swap(points[0], points[2]);
    }

    for (int edge = 0; edge < 3; ++edge) {
      const int a = edge, b = (edge + 1) % 3, c = (edge + 2) % 3;
      for (int axis = 0; axis < 2; ++axis) {
        float turned[3][2];
        for (int k = 0; k < 3; ++k) {
          turned[k][0] = points[k][axis];
          turned[k][1] = points[k][1 - axis];
        }
        float pulls[2] = {0.0f, 0.0f};
        one_edge<C>(lines[axis], axis == 0, f, turned[a], turned[b], turned[c], eps, pulls);
        gradient[3 * ids[a] + 1 - axis] += pulls[0];
        gradient[3 * ids[b] + 1 - axis] += pulls[1];
      }
    }
  }
}

}  // namespace

// Colours what each pixel sees.
//
//   colors  [F, C - 1]: of each face
//   face    [H, W]: what each pixel sees, or -1
//   image   [H, W, C]: out, that face's colour, and alpha
extern "C" void paint(const float* colors, int channels, int height, int width,
                      const std::int32_t* face, float* image) {
  const std::size_t pixels = static_cast<std::size_t>(height) * width;
  if (channels == 1) {
    for (std::size_t k = 0; k < pixels; ++k) image[k] = face[k] >= 0 ? 1.0f : 0.0f;
    return;
  }
  const int count = channels - 1;
  for (std::size_t k = 0; k < pixels; ++k) {
    const bool seen = face[k] >= 0;
    const float* color = colors + (seen ? static_cast<std::size_t>(face[k]) * count : 0);
    for (int c = 0; c < count; ++c) image[channels * k + c] = seen ? color[c] : 0.0f;
    image[channels * k + count] = seen ? 1.0f : 0.0f;
  }
}

// The gradient of sum(picture * upstream) to a mesh in screen space.
//
//   vertices  [V, 3]: x and y in [-1, 1] across the picture, y up
//   faces     [F, 3]: vertex indices
//   face      [H, W]: what each pixel sees, or -1
//   image     [H, W, C]: the picture; C is 1 or 4
//   upstream  [H / samples, W / samples, C]: of the picture's means over samples x samples pixels
//   gradient  [V, 3]: out, zero in z
extern "C" void nmr(const float* vertices, int vertex_count, const std::int32_t* faces,
                    int face_count, int channels, int height, int width, int samples, float eps,
                    const std::int32_t* face, const float* image, const float* upstream,
                    float* gradient) {
  const auto run = channels == 1 ? differentiate<1> : differentiate<4>;
  run(vertices, vertex_count, faces, face_count, height, width, samples, eps, face, image, upstream,
      gradient);
}
