#include <string>

#include "bind_cuda.h"
#include "tersor/base/error.h"
#include "tersor/distillation/cuda.h"
#include "tersor/distillation/relational.h"

namespace py = pybind11;

namespace tersor::bindings {
namespace {

using distillation::Logits;
using distillation::LogitType;

// Addresses of student, teacher, top classes (0: all), labels (0: none); rows, classes, teacher's
// columns; whether student and teacher are bfloat16.
using LogitsAt = std::array<std::size_t, 9>;

Logits logits_of(const LogitsAt& a) {
  Logits l;
  l.student = at(a[0]);
  l.teacher = at(a[1]);
  l.teacher_indices = at<const std::int64_t>(a[2]);
  l.rows = a[4];
  l.classes = a[5];
  l.teacher_columns = a[6];
  l.student_type = a[7] ? LogitType::bfloat16 : LogitType::float32;
  l.teacher_type = a[8] ? LogitType::bfloat16 : LogitType::float32;
  return l;
}
const std::int64_t* labels_of(const LogitsAt& a) { return at<const std::int64_t>(a[3]); }

}  // namespace

void bind_distillation_cuda(py::module_& m) {
  m.def("kd_loss", [](const LogitsAt& a, Address class_weights, float temperature, float alpha,
                      float label_smoothing, std::int64_t ignore_index, bool standardize,
                      Address loss, Address gradient, Address stream) {
    distillation::KdOptions o;
    o.temperature = temperature;
    o.alpha = alpha;
    o.label_smoothing = label_smoothing;
    o.class_weights = at<const float>(class_weights);
    o.ignore_index = ignore_index;
    o.standardize = standardize;
    distillation::kd_loss_cuda(logits_of(a), labels_of(a), o, at<float>(loss), at(gradient),
                               stream_at(stream));
  });
  m.def("dkd_loss", [](const LogitsAt& a, float temperature, float alpha, float beta,
                       std::int64_t ignore_index, Address loss, Address gradient, Address stream) {
    distillation::dkd_loss_cuda(logits_of(a), labels_of(a),
                                {temperature, alpha, beta, ignore_index}, at<float>(loss),
                                at(gradient), stream_at(stream));
  });
  m.def("jsd_loss", [](const LogitsAt& a, float temperature, float beta, std::int64_t ignore_index,
                       Address loss, Address gradient, Address stream) {
    distillation::jsd_loss_cuda(logits_of(a), labels_of(a), {temperature, beta, ignore_index},
                                at<float>(loss), at(gradient), stream_at(stream));
  });
  m.def("mean_squared_difference",
        [](Address x, bool x_bfloat16, Address y, bool y_bfloat16, std::size_t n, Address loss,
           Address gradient, Address stream) {
          distillation::mean_squared_difference_cuda(at(x), number_of(x_bfloat16), at(y),
                                                     number_of(y_bfloat16), n, at<float>(loss),
                                                     at(gradient), stream_at(stream));
        });
  m.def("attention_loss", [](Address x, bool x_bfloat16, Address y, bool y_bfloat16,
                             const std::array<std::size_t, 4>& sizes, bool channels_last,
                             Address loss, Address gradient, Address stream) {
    distillation::DeviceFeatures f;
    f.student = at(x);
    f.teacher = at(y);
    f.samples = sizes[0];
    f.student_channels = sizes[1];
    f.teacher_channels = sizes[2];
    f.positions = sizes[3];
    f.channels_last = channels_last;
    f.student_type = number_of(x_bfloat16);
    f.teacher_type = number_of(y_bfloat16);
    distillation::attention_loss_cuda(f, at<float>(loss), at(gradient), stream_at(stream));
  });
  m.def("relational_loss",
        [](Address x, Address y, const std::array<std::size_t, 3>& sizes, float distance,
           float angle, Address loss, Address gradient, Address stream) {
          const distillation::Embeddings e = {at<const float>(x), at<const float>(y), sizes[0],
                                              sizes[1], sizes[2]};
          distillation::relational_loss_cuda(e, distance, angle, at<float>(loss),
                                             at<float>(gradient), stream_at(stream));
        });
  m.def("scale_gradient",
        [](Address gradient, bool bfloat16, std::size_t n, Address factor, Address stream) {
          distillation::scale_gradient_cuda(at(gradient), number_of(bfloat16), n,
                                            at<const float>(factor), stream_at(stream));
        });
}

}  // namespace tersor::bindings
