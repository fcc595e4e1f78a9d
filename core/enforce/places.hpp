// Where enforcement for the whole machine puts what it needs; docs/decisions/0011 says why there.
// Constants only: the shim uses them too.
#pragma once

namespace chronos::enforce {

inline constexpr char kPreloadFile[] = "/etc/ld.so.preload";
inline constexpr char kPreloadDraft[] = "/etc/ld.so.preload.chronos-new";

inline constexpr char kConfigFolder[] = "/etc/chronos";
inline constexpr char kRecord[] = "/etc/chronos/ld.so.preload.before";
inline constexpr char kRecordDraft[] = "/etc/chronos/ld.so.preload.before.new";
inline constexpr char kLock[] = "/etc/chronos/enforce.lock";

inline constexpr char kFolder[] = "/usr/lib/chronos";
inline constexpr char kLibraryFolder[] = "/usr/lib/chronos/enforced";
inline constexpr char kLibrary[] = "/usr/lib/chronos/enforced/libchronos_shim.so";
inline constexpr char kStageFolder[] = "/usr/lib/chronos/trial";
inline constexpr char kStage[] = "/usr/lib/chronos/trial/libchronos_shim.so";

// A link to `enforced`. AddressSanitizer's runtime ends a program in which another library comes
// before it, unless that one's path has "libasan.so" in it; and the statically linked one ends a
// program that has a *file* of such a name mapped. The link has the name, the file does not.
inline constexpr char kLink[] = "/usr/lib/chronos/before-libasan.so";
inline constexpr char kLinkTarget[] = "enforced";
// What stands in /etc/ld.so.preload.
inline constexpr char kEntry[] = "/usr/lib/chronos/before-libasan.so/libchronos_shim.so";

inline constexpr char kLayerFolder[] = "/etc/OpenCL/layers";
inline constexpr char kLayerFile[] = "/etc/OpenCL/layers/chronos.lay";
inline constexpr char kLayerDraft[] = "/etc/OpenCL/layers/chronos.lay.new";

}  // namespace chronos::enforce
