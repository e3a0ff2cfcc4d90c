// Cancellation of long operations, such as Ctrl-C in Python.
#pragma once

#include "tersor/base/export.h"

namespace tersor {

// Asked by check_cancelled: true (or an exception) means stop. One per process; nullptr for none.
using CancelCallback = bool (*)();
TERSOR_API void set_cancel_callback(CancelCallback callback);

// Throws Cancelled if the callback says so. For long loops, per layer or per chunk: the callback
// runs at most every 50 ms, and never on a pool worker (which stop when the calling thread has
// thrown).
TERSOR_API void check_cancelled();

}  // namespace tersor
