// Devices, memory and DLPack capsules.
#include <memory>
#include <string>
#include <vector>

#include "bind_cuda.h"
#include "dlpack.h"
#include "tersor/base/error.h"

namespace py = pybind11;

namespace tersor::bindings {
namespace {

constexpr const char* kCapsule = "dltensor";

// A tensor that another library gives away; used() consumed its capsule.
struct Borrowed {
  dlpack::Managed* managed;
  explicit Borrowed(dlpack::Managed* m) : managed(m) {}
  Borrowed(const Borrowed&) = delete;
  ~Borrowed() {
    if (managed->deleter) managed->deleter(managed);
  }
};

// A tensor that we give away.
struct Lent {
  dlpack::Managed managed;
  std::vector<std::int64_t> shape;
  PyObject* owner;
};

py::tuple take_capsule(py::capsule capsule) {
  TERSOR_CHECK(std::string(capsule.name()) == kCapsule,
               "tersor.cuda: x must give an unused DLPack capsule, got ", capsule.name());
  auto* managed = capsule.get_pointer<dlpack::Managed>();
  capsule.set_name("used_dltensor");
  auto keeper = std::make_shared<Borrowed>(managed);
  const dlpack::Tensor& t = managed->tensor;
  const std::vector<std::int64_t> shape(t.shape, t.shape + t.ndim);
  bool compact = true;
  std::int64_t step = 1;
  for (std::size_t d = shape.size(); t.strides && d-- > 0;) {
    compact = compact && (shape[d] <= 1 || t.strides[d] == step);
    step *= shape[d];
  }
  for (const std::int64_t length : shape) compact = compact || length == 0;
  return py::make_tuple(reinterpret_cast<Address>(t.data) + t.byte_offset, shape,
                        static_cast<int>(t.dtype.code), static_cast<int>(t.dtype.bits), compact,
                        t.device.type, t.device.index, keeper);
}

py::capsule give_capsule(Address address, const std::vector<std::int64_t>& shape, int code,
                         int bits, int device_type, int device, const py::object& owner) {
  auto lent = std::make_unique<Lent>();
  lent->shape = shape;
  lent->owner = owner.ptr();
  lent->managed.tensor = {at(address),
                          {device_type, device},
                          static_cast<std::int32_t>(shape.size()),
                          {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(bits), 1},
                          lent->shape.data(),
                          nullptr,
                          0};
  lent->managed.context = lent.get();
  lent->managed.deleter = [](dlpack::Managed* m) {
    const py::gil_scoped_acquire gil;
    auto* mine = static_cast<Lent*>(m->context);
    Py_DECREF(mine->owner);
    delete mine;
  };
  py::capsule capsule(&lent->managed, kCapsule, [](PyObject* object) {
    // Consumers rename what they take.
    if (!PyCapsule_IsValid(object, kCapsule)) return;
    auto* m = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(object, kCapsule));
    m->deleter(m);
  });
  Py_INCREF(lent->owner);
  lent.release();
  return capsule;
}

}  // namespace

void bind_memory(py::module_& m) {
  py::class_<Borrowed, std::shared_ptr<Borrowed>>(m, "Borrowed");
  py::class_<cuda::Memory>(m, "Memory")
      .def(py::init([](std::size_t bytes, Address stream) {
             return cuda::Memory(bytes, stream_at(stream));
           }),
           py::arg("bytes"), py::arg("stream"))
      .def_property_readonly("address", [](const cuda::Memory& memory) {
        return reinterpret_cast<Address>(memory.data());
      });
  m.def("set_device", &cuda::set_device, py::arg("device"));
  m.def("device_count", &cuda::device_count);
  m.def("current_device", &cuda::current_device);
  m.def(
      "device_info",
      [](int device) {
        const cuda::DeviceInfo& info = cuda::device_info(device);
        py::dict d;
        d["name"] = info.name;
        d["compute_capability"] = py::make_tuple(info.major, info.minor);
        d["multiprocessors"] = info.multiprocessors;
        d["l2_bytes"] = info.l2_bytes;
        d["memory_bytes"] = info.memory_bytes;
        return d;
      },
      py::arg("device"));
  m.def(
      "copy_to_device",
      [](Address to, const py::buffer& from, Address stream) {
        const py::buffer_info info = from.request();
        cuda::copy_to_device(at(to), info.ptr, static_cast<std::size_t>(info.size * info.itemsize),
                             stream_at(stream));
      },
      py::arg("to"), py::arg("source"), py::arg("stream"));
  m.def(
      "copy_to_host",
      [](const py::buffer& to, Address from, Address stream) {
        const py::buffer_info info = to.request(true);
        const auto bytes = static_cast<std::size_t>(info.size * info.itemsize);
        without_gil([&] { cuda::copy_to_host(info.ptr, at(from), bytes, stream_at(stream)); });
      },
      py::arg("to"), py::arg("source"), py::arg("stream"));
  m.def(
      "synchronize",
      [](Address stream) { without_gil([&] { cuda::synchronize(stream_at(stream)); }); },
      py::arg("stream"));
  m.def("take_capsule", &take_capsule, py::arg("capsule"));
  m.def("give_capsule", &give_capsule, py::arg("address"), py::arg("shape"), py::arg("code"),
        py::arg("bits"), py::arg("device_type"), py::arg("device"), py::arg("owner"));
}

}  // namespace tersor::bindings
