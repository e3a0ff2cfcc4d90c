#include "graph_channels.h"

#include <pybind11/stl.h>

#include "tersor/graph/channels.h"

namespace py = pybind11;
namespace tg = tersor::graph;

namespace tersor::bindings {
namespace {

std::vector<std::pair<tg::NodeId, int64_t>> pairs(const std::vector<tg::LayerChannel>& channels) {
  std::vector<std::pair<tg::NodeId, int64_t>> out;
  for (const tg::LayerChannel& c : channels) out.emplace_back(c.node, c.channel);
  return out;
}

}  // namespace

void bind_channels(py::module_& m) {
  py::class_<tg::ChannelUnit>(m, "ChannelUnit", "Channels that can only be removed together.")
      .def_readonly("group", &tg::ChannelUnit::group, "Index of the unit's group.")
      .def_property_readonly(
          "made", [](const tg::ChannelUnit& u) { return pairs(u.made); },
          "(node, output channel) of every layer that makes it.")
      .def_property_readonly(
          "read", [](const tg::ChannelUnit& u) { return pairs(u.read); },
          "(node, input channel) of every layer that reads it.");
  py::class_<tg::Channels>(m, "Channels", "What find_channels tells.")
      .def_readonly("units", &tg::Channels::units)
      .def_readonly("groups", &tg::Channels::groups,
                    "Nodes of the layers whose output channels are tied to each other.")
      .def_readonly("fixed", &tg::Channels::fixed, "Layers whose channels stay, and why.")
      .def_readonly("axes", &tg::Channels::axes, "Axis with channels of every edge, -1: none.")
      .def_readonly("units_of", &tg::Channels::units_of,
                    "Unit of every place on that axis, -1 where it stays.")
      .def_property_readonly("cover", &tg::cover,
                             "Sets of units of which at least one has to stay each.")
      .def("__repr__", [](const tg::Channels& c) {
        return "Channels(" + std::to_string(c.units.size()) + " units in " +
               std::to_string(c.groups.size()) + " groups)";
      });
  m.def("find_channels", &tg::find_channels, py::arg("graph"), py::arg("excluded"),
        py::call_guard<py::gil_scoped_release>());
  m.def("remove_channels", &tg::remove_channels, py::arg("graph"), py::arg("channels"),
        py::arg("keep"), py::call_guard<py::gil_scoped_release>());
}

}  // namespace tersor::bindings
