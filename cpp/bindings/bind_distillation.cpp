#include <pybind11/stl.h>

#include <cstdint>
#include <cstring>
#include <optional>

#include "arrays.h"
#include "tersor/distillation/attention.h"
#include "tersor/distillation/dkd.h"
#include "tersor/distillation/gradient.h"
#include "tersor/distillation/jsd.h"
#include "tersor/distillation/kd.h"
#include "tersor/distillation/mse.h"
#include "tersor/distillation/relational.h"

namespace py = pybind11;
using tersor::bindings::Array;
using tersor::bindings::dtype_name;
using tersor::bindings::output_array;
using tersor::bindings::shape_of;
using tersor::bindings::shape_text;
using tersor::bindings::without_gil;
namespace distillation = tersor::distillation;
using distillation::Logits;
using distillation::LogitType;

namespace {

template <class T>
using OptionalArray = std::optional<Array<T>>;

LogitType logit_type(const char* op, const char* name, const py::array& a) {
  if (a.dtype().num() == py::dtype::of<float>().num()) return LogitType::float32;
  const std::string dtype = dtype_name(a.dtype());
  TERSOR_CHECK_TYPE(dtype == "bfloat16", op, ": ", name, " must be float32 or bfloat16, got ",
                    dtype);
  return LogitType::bfloat16;
}

// Matrices of logits, checked against each other; nothing is copied.
Logits logits_of(const char* op, const py::array& student, const py::array& teacher,
                 const OptionalArray<std::int64_t>& indices) {
  TERSOR_CHECK(student.ndim() == 2, op, ": student must have 2 dimensions, got shape ",
               shape_text(shape_of(student)));
  TERSOR_CHECK(teacher.ndim() == 2 && teacher.shape(0) == student.shape(0), op,
               ": teacher must have shape (", student.shape(0), ", ", indices ? "k" : "classes",
               "), got ", shape_text(shape_of(teacher)));
  if (indices) {
    TERSOR_CHECK(shape_of(*indices) == shape_of(teacher), op, ": teacher_indices must have shape ",
                 shape_text(shape_of(teacher)), ", got ", shape_text(shape_of(*indices)));
  } else {
    TERSOR_CHECK(teacher.shape(1) == student.shape(1), op, ": teacher must have ", student.shape(1),
                 " classes like the student, got ", teacher.shape(1));
  }
  TERSOR_CHECK((student.flags() & teacher.flags() & py::array::c_style) != 0, op,
               ": student and teacher must be C-contiguous, got ones that are not");
  Logits a;
  a.student = student.data();
  a.teacher = teacher.data();
  a.rows = static_cast<std::size_t>(student.shape(0));
  a.classes = static_cast<std::size_t>(student.shape(1));
  a.teacher_columns = static_cast<std::size_t>(teacher.shape(1));
  a.student_type = logit_type(op, "student", student);
  a.teacher_type = logit_type(op, "teacher", teacher);
  a.teacher_indices = indices ? indices->data() : nullptr;
  return a;
}

// The same for memory that Python describes by numbers, as torch tensors are.
Logits logits_at(std::uintptr_t student, std::uintptr_t teacher, std::size_t rows,
                 std::size_t classes, int types, std::uintptr_t indices, std::size_t columns) {
  Logits a;
  a.student = reinterpret_cast<const void*>(student);
  a.teacher = reinterpret_cast<const void*>(teacher);
  a.rows = rows;
  a.classes = classes;
  a.teacher_columns = columns;
  a.student_type = types & 1 ? LogitType::bfloat16 : LogitType::float32;
  a.teacher_type = types & 2 ? LogitType::bfloat16 : LogitType::float32;
  a.teacher_indices = reinterpret_cast<const std::int64_t*>(indices);
  return a;
}

template <class T>
const T* column(const char* op, const char* name, const OptionalArray<T>& a, std::size_t n) {
  if (!a) return nullptr;
  TERSOR_CHECK(a->ndim() == 1 && static_cast<std::size_t>(a->shape(0)) == n, op, ": ", name,
               " must have shape (", n, ",), got ", shape_text(shape_of(*a)));
  return a->data();
}

// The gradient's array: a new one, `out`, or the student's own memory.
py::array gradient_array(const char* op, const py::array& student, const py::object& out,
                         bool inplace) {
  if (!inplace) return output_array(op, out, student.dtype(), shape_of(student));
  TERSOR_CHECK(out.is_none(), op, ": out must be None with inplace, got an array");
  TERSOR_CHECK(student.writeable(), op,
               ": student must be writeable with inplace, got one that is not");
  return student;
}

void bind_kd(py::module_& m) {
  m.def(
      "kd_loss",
      [](const py::array& student, const py::array& teacher,
         const OptionalArray<std::int64_t>& labels, const OptionalArray<std::int64_t>& indices,
         const OptionalArray<float>& class_weights, float temperature, float alpha,
         float label_smoothing, std::int64_t ignore_index, bool standardize, const py::object& out,
         bool inplace) {
        constexpr const char* op = "kd_loss";
        const Logits a = logits_of(op, student, teacher, indices);
        distillation::KdOptions options;
        options.temperature = temperature;
        options.alpha = alpha;
        options.label_smoothing = label_smoothing;
        options.class_weights = column(op, "class_weights", class_weights, a.classes);
        options.ignore_index = ignore_index;
        options.standardize = standardize;
        const std::int64_t* y = column(op, "labels", labels, a.rows);
        py::array gradient = gradient_array(op, student, out, inplace);
        void* g = gradient.mutable_data();
        const double loss = without_gil([&] { return distillation::kd_loss(a, y, options, g); });
        return py::make_tuple(loss, std::move(gradient));
      },
      py::arg("student"), py::arg("teacher"), py::arg("labels").noconvert(),
      py::arg("teacher_indices").noconvert(), py::arg("class_weights").noconvert(),
      py::arg("temperature"), py::arg("alpha"), py::arg("label_smoothing"), py::arg("ignore_index"),
      py::arg("standardize"), py::arg("out"), py::arg("inplace"));

  m.def(
      "kd_loss_at",
      [](std::uintptr_t student, std::uintptr_t teacher, std::size_t rows, std::size_t classes,
         int types, std::uintptr_t indices, std::size_t columns, std::uintptr_t labels,
         std::uintptr_t class_weights, float temperature, float alpha, float label_smoothing,
         std::int64_t ignore_index, bool standardize, std::uintptr_t gradient) {
        const Logits a = logits_at(student, teacher, rows, classes, types, indices, columns);
        distillation::KdOptions options;
        options.temperature = temperature;
        options.alpha = alpha;
        options.label_smoothing = label_smoothing;
        options.class_weights = reinterpret_cast<const float*>(class_weights);
        options.ignore_index = ignore_index;
        options.standardize = standardize;
        return without_gil([&] {
          return distillation::kd_loss(a, reinterpret_cast<const std::int64_t*>(labels), options,
                                       reinterpret_cast<void*>(gradient));
        });
      },
      py::arg("student"), py::arg("teacher"), py::arg("rows"), py::arg("classes"), py::arg("types"),
      py::arg("indices"), py::arg("columns"), py::arg("labels"), py::arg("class_weights"),
      py::arg("temperature"), py::arg("alpha"), py::arg("label_smoothing"), py::arg("ignore_index"),
      py::arg("standardize"), py::arg("gradient"));
}

LogitType type_of(bool bfloat16) { return bfloat16 ? LogitType::bfloat16 : LogitType::float32; }

// The other losses have this form only; their Python functions describe arrays by numbers, too.
void bind_losses_at(py::module_& m) {
  m.def(
      "dkd_loss_at",
      [](std::uintptr_t student, std::uintptr_t teacher, std::size_t rows, std::size_t classes,
         int types, std::uintptr_t labels, float temperature, float alpha, float beta,
         std::int64_t ignore_index, std::uintptr_t gradient) {
        const Logits a = logits_at(student, teacher, rows, classes, types, 0, classes);
        const distillation::DkdOptions options = {temperature, alpha, beta, ignore_index};
        return without_gil([&] {
          return distillation::dkd_loss(a, reinterpret_cast<const std::int64_t*>(labels), options,
                                        reinterpret_cast<void*>(gradient));
        });
      },
      py::arg("student"), py::arg("teacher"), py::arg("rows"), py::arg("classes"), py::arg("types"),
      py::arg("labels"), py::arg("temperature"), py::arg("alpha"), py::arg("beta"),
      py::arg("ignore_index"), py::arg("gradient"));

  m.def(
      "jsd_loss_at",
      [](std::uintptr_t student, std::uintptr_t teacher, std::size_t rows, std::size_t classes,
         int types, std::uintptr_t labels, float temperature, float beta, std::int64_t ignore_index,
         std::uintptr_t gradient) {
        const Logits a = logits_at(student, teacher, rows, classes, types, 0, classes);
        const distillation::JsdOptions options = {temperature, beta, ignore_index};
        return without_gil([&] {
          return distillation::jsd_loss(a, reinterpret_cast<const std::int64_t*>(labels), options,
                                        reinterpret_cast<void*>(gradient));
        });
      },
      py::arg("student"), py::arg("teacher"), py::arg("rows"), py::arg("classes"), py::arg("types"),
      py::arg("labels"), py::arg("temperature"), py::arg("beta"), py::arg("ignore_index"),
      py::arg("gradient"));

  m.def(
      "mean_squared_difference_at",
      [](const std::string& operation, std::uintptr_t student, std::uintptr_t teacher,
         std::size_t n, int types, std::uintptr_t gradient) {
        return without_gil([&] {
          return distillation::mean_squared_difference(
              operation.c_str(), reinterpret_cast<const void*>(student), type_of(types & 1),
              reinterpret_cast<const void*>(teacher), type_of(types & 2), n,
              reinterpret_cast<void*>(gradient));
        });
      },
      py::arg("operation"), py::arg("student"), py::arg("teacher"), py::arg("n"), py::arg("types"),
      py::arg("gradient"));

  m.def(
      "attention_loss_at",
      [](std::uintptr_t student, std::uintptr_t teacher, std::size_t samples,
         std::size_t student_channels, std::size_t teacher_channels, std::size_t positions,
         bool channels_last, int types, std::uintptr_t gradient) {
        const distillation::Features features = {reinterpret_cast<const void*>(student),
                                                 reinterpret_cast<const void*>(teacher),
                                                 samples,
                                                 student_channels,
                                                 teacher_channels,
                                                 positions,
                                                 channels_last,
                                                 type_of(types & 1),
                                                 type_of(types & 2)};
        return without_gil([&] {
          return distillation::attention_loss(features, reinterpret_cast<void*>(gradient));
        });
      },
      py::arg("student"), py::arg("teacher"), py::arg("samples"), py::arg("student_channels"),
      py::arg("teacher_channels"), py::arg("positions"), py::arg("channels_last"), py::arg("types"),
      py::arg("gradient"));

  m.def(
      "relational_loss_at",
      [](std::uintptr_t student, std::uintptr_t teacher, std::size_t rows,
         std::size_t student_dimensions, std::size_t teacher_dimensions, float distance,
         float angle, std::uintptr_t gradient) {
        const distillation::Embeddings embeddings = {reinterpret_cast<const float*>(student),
                                                     reinterpret_cast<const float*>(teacher), rows,
                                                     student_dimensions, teacher_dimensions};
        return without_gil([&] {
          return distillation::relational_loss(embeddings, distance, angle,
                                               reinterpret_cast<float*>(gradient));
        });
      },
      py::arg("student"), py::arg("teacher"), py::arg("rows"), py::arg("student_dimensions"),
      py::arg("teacher_dimensions"), py::arg("distance"), py::arg("angle"), py::arg("gradient"));
}

}  // namespace

void bind_distillation(py::module_& m) {
  bind_kd(m);
  bind_losses_at(m);
  // gradient *= *factor, where `factor` is the address of a float32.
  m.def(
      "scale_gradient_at",
      [](std::uintptr_t gradient, bool bfloat16, std::size_t n, std::uintptr_t factor) {
        float value;
        std::memcpy(&value, reinterpret_cast<const void*>(factor), sizeof value);
        if (value == 1) return;
        without_gil([&] {
          distillation::scale_gradient(reinterpret_cast<void*>(gradient), type_of(bfloat16), n,
                                       value);
        });
      },
      py::arg("gradient"), py::arg("bfloat16"), py::arg("n"), py::arg("factor"));

  // Memory for gradients that another framework wraps, recycled where it is large.
  m.def(
      "empty",
      [](const py::dtype& dtype, const tersor::bindings::Shape& shape) {
        return tersor::bindings::empty_array(dtype, shape);
      },
      py::arg("dtype"), py::arg("shape"));
}
