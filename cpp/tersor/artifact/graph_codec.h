// The graph section: operators used, edges, nodes. Tensors are named by their stream's index.
#pragma once

#include "tersor/artifact/byte_stream.h"
#include "tersor/artifact/streams.h"
#include "tersor/graph/graph.h"

namespace tersor::artifact {

struct StreamName {
  std::string edge;
  std::string part;
};

// Adds the tensors to `streams` in the order in which the section names them. Returns the features
// (sections.h) that a reader must know.
uint64_t write_graph(const graph::Graph& graph, ByteWriter& out, StreamWriter& streams);

// `features` are those that the file declares; `names`, when given, receives one entry per stream;
// `only`, when given, names the constants whose values are read: those of the others are zeros.
graph::Graph read_graph(ByteReader& in, StreamReader& streams, uint64_t features,
                        std::vector<StreamName>* names,
                        const std::vector<std::string>* only = nullptr);

}  // namespace tersor::artifact
