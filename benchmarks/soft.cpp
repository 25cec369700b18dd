// The blend of all triangles for one thread, written for the vector units: the bar for `soft`.
//
// The rules are those of jaxrender's `rasterize_soft` with its default settings and one colour for
// each face, without near plane clipping: coverage by the logistic function of the squared
// distance, colours by a softmax of depth, alpha by the product. Faces are looped over, and in the
// pixels within their reach, row by row, LANES at a time: once for the nearest depth, once to add
// everything up, and once more for the gradient.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr int LANES = 8;        // pixels per step; rows are padded to a multiple of it
constexpr float EPS = 1e-3f;    // how far in front of `far` the background counts as
constexpr float CUTOFF = 1e-4f; // least coverage that counts

struct Face {
  float x[3], y[3], z[3], inverse_area;
  float dx[3], dy[3], inverse_length[3], inverse_z[3];  // of the edge opposite each corner
  int left, right, top, bottom;
};

struct View {
  const float* vertices;
  const std::int32_t* faces;
  int height, width, stride;
  float near, far, sigma, reach, sharpness;
};

// What a pixel has to do with a face.
struct Fragment {
  float weight[3];    // of the corners at the closest point of the boundary
  float rx, ry, d2;   // the way from there, and its square
  float e[3], b[3];   // edge functions, and barycentrics where the face is looked up
  float scale, z;     // the barycentrics are max(e, 0) / z_k * scale
  float signed_square;
  bool seen;
};

bool set_up(const View& v, int f, Face& face) {
  for (int k = 0; k < 3; ++k) {
    const float* vertex = v.vertices + 3 * v.faces[3 * f + k];
    face.x[k] = 0.5f * (vertex[0] * v.width + v.width - 1);
    face.y[k] = 0.5f * (v.height - 1 - vertex[1] * v.height);
    face.z[k] = vertex[2];
    face.inverse_z[k] = 1.0f / vertex[2];
  }
  const float area = (face.x[1] - face.x[0]) * (face.y[2] - face.y[0]) -
                     (face.x[2] - face.x[0]) * (face.y[1] - face.y[0]);
  if (area == 0.0f) return false;
  face.inverse_area = 1.0f / area;
  const float sign = area > 0 ? 1.0f : -1.0f;
  for (int k = 0; k < 3; ++k) {
    const int a = (k + 1) % 3, b = (k + 2) % 3;
    face.dx[k] = (face.x[b] - face.x[a]) * sign;
    face.dy[k] = (face.y[b] - face.y[a]) * sign;
    face.inverse_length[k] = 1.0f / (face.dx[k] * face.dx[k] + face.dy[k] * face.dy[k]);
  }
  const float grown = std::sqrt(v.reach);
  auto low = [&](const float* p, int size) {
    return static_cast<int>(std::ceil(
        std::clamp(std::min({p[0], p[1], p[2]}) - grown, 0.0f, static_cast<float>(size))));
  };
  auto high = [&](const float* p, int size) {
    return static_cast<int>(std::floor(
        std::clamp(std::max({p[0], p[1], p[2]}) + grown, -1.0f, static_cast<float>(size - 1))));
  };
  face.left = low(face.x, v.width);
  face.right = high(face.x, v.width);
  face.top = low(face.y, v.height);
  face.bottom = high(face.y, v.height);
  return face.left <= face.right && face.top <= face.bottom;
}

inline Fragment look(const View& v, const Face& face, float x, float y) {
  Fragment p;
  float best = 0, along = 0;
  int side = 0;
  const float sign = face.inverse_area > 0 ? 1.0f : -1.0f;
  float total = 0;
  for (int k = 0; k < 3; ++k) {
    const int a = (k + 1) % 3;
    const float px = x - face.x[a], py = y - face.y[a];
    p.e[k] = py * face.dx[k] - px * face.dy[k];
    const float dx = face.dx[k] * sign, dy = face.dy[k] * sign;
    float t = (px * dx + py * dy) * face.inverse_length[k];
    t = t < 0 ? 0 : (t > 1 ? 1 : t);
    const float rx = px - t * dx, ry = py - t * dy, d2 = rx * rx + ry * ry;
    const bool closer = k == 0 || d2 < best;
    best = closer ? d2 : best;
    along = closer ? t : along;
    side = closer ? k : side;
    p.rx = closer ? rx : p.rx;
    p.ry = closer ? ry : p.ry;
    p.b[k] = (p.e[k] > 0 ? p.e[k] : 0) * face.inverse_z[k];
    total += p.b[k];
  }
  p.d2 = best;
  for (int k = 0; k < 3; ++k)
    p.weight[k] = side == k ? 0.0f : (side == (k + 2) % 3 ? 1.0f - along : along);
  p.scale = 1.0f / total;
  p.z = 0;
  for (int k = 0; k < 3; ++k) {
    p.b[k] *= p.scale;
    p.z += p.b[k] * face.z[k];
  }
  const bool inside = (p.e[0] > 0) & (p.e[1] > 0) & (p.e[2] > 0);
  p.seen = (inside | (best < v.reach)) & (p.z <= v.far);
  p.signed_square = (inside ? best : -best) / v.sigma;
  return p;
}

}  // namespace

// Blends one mesh in screen space and, if `gradient` is not null, differentiates
// `sum(picture * upstream)`.
//
//   vertices  [V, 3]: x and y in [-1, 1] across the picture, y up; z the depth
//   faces     [F, 3]: vertex indices
//   colors    [F, 3]: of each face, or null: alpha alone
//   picture   [H, W, 4]: out, rgb and alpha; or [H, W, 1]
//   upstream  of the picture's shape
//   gradient  [V, 3]: out
extern "C" void soft(const float* vertices, int vertex_count, const std::int32_t* faces,
                     int face_count, const float* colors, int height, int width, float near,
                     float far, float sigma, float gamma, float* picture, const float* upstream,
                     float* gradient) {
  View v{vertices, faces, height, width, 0, near, far, 0, 0, 0};
  v.stride = (width + LANES - 1) / LANES * LANES;
  v.sigma = sigma * 0.25f * height * height;
  v.reach = v.sigma * std::log(1.0f / CUTOFF - 1.0f);
  v.sharpness = 1.0f / ((far - near) * gamma);
  const float floor = far - EPS * (far - near);
  const std::size_t size = static_cast<std::size_t>(v.stride) * height;
  const int channels = colors ? 4 : 1;

  // The buffers are kept from call to call.
  thread_local std::vector<float> buffers[8];
  for (auto& buffer : buffers) buffer.assign(size, 0.0f);
  float *nearest = buffers[0].data(), *norm = buffers[1].data(), *thickness = buffers[2].data();
  float* sums[3] = {buffers[3].data(), buffers[4].data(), buffers[5].data()};
  float *mean = buffers[6].data(), *share = buffers[7].data();
  Face face;

  // Find the nearest depth at each pixel.
  std::fill_n(nearest, size, floor);
  if (colors) {
    for (int f = 0; f < face_count; ++f) {
      if (!set_up(v, f, face)) continue;
      for (int i = face.top; i <= face.bottom; ++i) {
        float* row = nearest + static_cast<std::size_t>(i) * v.stride;
#pragma GCC ivdep
        for (int j = face.left; j <= face.right; ++j) {
          const Fragment p = look(v, face, j, i);
          const float z = p.seen ? p.z : far;
          row[j] = z < row[j] ? z : row[j];
        }
      }
    }
  }

  // Add everything up.
  for (int f = 0; f < face_count; ++f) {
    if (!set_up(v, f, face)) continue;
    const float c0 = colors ? colors[3 * f] : 0, c1 = colors ? colors[3 * f + 1] : 0,
                c2 = colors ? colors[3 * f + 2] : 0;
    for (int i = face.top; i <= face.bottom; ++i) {
      const std::size_t at = static_cast<std::size_t>(i) * v.stride;
      float *n = norm + at, *s0 = sums[0] + at, *s1 = sums[1] + at, *s2 = sums[2] + at;
      float *q = thickness + at, *m = nearest + at;
#pragma GCC ivdep
      for (int j = face.left; j <= face.right; ++j) {
        const Fragment p = look(v, face, j, i);
        const float t = p.signed_square, size_of = t > 0 ? t : -t;
        const float e = std::exp(-size_of);
        const float coverage = (t > 0 ? 1.0f : e) / (1.0f + e);
        const float log = (t > 0 ? t : 0) + std::log(1.0f + e);
        q[j] += p.seen ? log : 0;
        if (colors) {
          const float w = p.seen ? coverage * std::exp(-v.sharpness * (p.z - m[j])) : 0;
          n[j] += w;
          s0[j] += w * c0;
          s1[j] += w * c1;
          s2[j] += w * c2;
        }
      }
    }
  }

  // Write the picture; keep what the gradient needs of it.
  for (int i = 0; i < height; ++i) {
    for (int j = 0; j < width; ++j) {
      const std::size_t at = static_cast<std::size_t>(i) * v.stride + j;
      float* pixel = picture + (static_cast<std::size_t>(i) * width + j) * channels;
      const float empty = std::exp(-thickness[at]);
      pixel[channels - 1] = 1 - empty;
      if (!colors) {
        thickness[at] = gradient ? upstream[(static_cast<std::size_t>(i) * width + j)] * empty : 0;
        continue;
      }
      share[at] = 1 / (norm[at] + std::exp(-v.sharpness * (floor - nearest[at])));
      mean[at] = 0;
      for (int c = 0; c < 3; ++c) {
        pixel[c] = sums[c][at] * share[at];
        if (!gradient) continue;
        const float g = upstream[(static_cast<std::size_t>(i) * width + j) * 4 + c];
        mean[at] += g * pixel[c];
        sums[c][at] = g;
      }
      if (gradient)
        thickness[at] = upstream[(static_cast<std::size_t>(i) * width + j) * 4 + 3] * empty;
    }
  }
  if (!gradient) return;

  // Differentiate: each face adds up what its pixels want of its corners.
  std::fill_n(gradient, 3 * static_cast<std::size_t>(vertex_count), 0.0f);
  for (int f = 0; f < face_count; ++f) {
    if (!set_up(v, f, face)) continue;
    const float c0 = colors ? colors[3 * f] : 0, c1 = colors ? colors[3 * f + 1] : 0,
                c2 = colors ? colors[3 * f + 2] : 0;
    float gx0 = 0, gx1 = 0, gx2 = 0, gy0 = 0, gy1 = 0, gy2 = 0, gz0 = 0, gz1 = 0, gz2 = 0;
    const float inverse_area = std::abs(face.inverse_area);
    for (int i = face.top; i <= face.bottom; ++i) {
      const std::size_t at = static_cast<std::size_t>(i) * v.stride;
      const float *m = nearest + at, *s = share + at, *u = mean + at, *a = thickness + at;
      const float *g0 = sums[0] + at, *g1 = sums[1] + at, *g2 = sums[2] + at;
      for (int j = face.left; j <= face.right; ++j) {
        const Fragment p = look(v, face, j, i);
        const float coverage = 1.0f / (1.0f + std::exp(-p.signed_square));
        float slope = a[j] * coverage, turn_x = 0, turn_y = 0, pull[3] = {0, 0, 0}, sink = 0;
        if (colors) {
          const float w = p.seen ? coverage * std::exp(-v.sharpness * (p.z - m[j])) * s[j] : 0;
          const float worth = w * (g0[j] * c0 + g1[j] * c1 + g2[j] * c2 - u[j]);
          slope += worth * (1.0f - coverage);
          sink = -v.sharpness * worth;
          for (int k = 0; k < 3; ++k) {
            pull[k] = sink * (face.z[k] - p.z);
            const float edge = p.e[k] > 0 ? pull[k] * face.inverse_z[k] * p.scale : 0;
            turn_x -= edge * face.dy[k];
            turn_y += edge * face.dx[k];
          }
          turn_x *= inverse_area;
          turn_y *= inverse_area;
        }
        slope = p.seen ? slope : 0;
        const float push = -2.0f * slope / v.sigma * (p.signed_square > 0 ? 1.0f : -1.0f);
        gx0 += push * p.rx * p.weight[0] - turn_x * p.e[0];
        gx1 += push * p.rx * p.weight[1] - turn_x * p.e[1];
        gx2 += push * p.rx * p.weight[2] - turn_x * p.e[2];
        gy0 += push * p.ry * p.weight[0] - turn_y * p.e[0];
        gy1 += push * p.ry * p.weight[1] - turn_y * p.e[1];
        gy2 += push * p.ry * p.weight[2] - turn_y * p.e[2];
        gz0 += p.b[0] * (sink - pull[0] * face.inverse_z[0]);
        gz1 += p.b[1] * (sink - pull[1] * face.inverse_z[1]);
        gz2 += p.b[2] * (sink - pull[2] * face.inverse_z[2]);
      }
    }
    const float gx[3] = {gx0, gx1, gx2}, gy[3] = {gy0, gy1, gy2}, gz[3] = {gz0, gz1, gz2};
    for (int k = 0; k < 3; ++k) {
      float* out = gradient + 3 * faces[3 * f + k];
      out[0] += 0.5f * width * gx[k];
      out[1] -= 0.5f * height * gy[k];
      out[2] += gz[k];
    }
  }
}
