#include "launch.hpp"

#include <atomic>
#include <stdexcept>
#include <utility>

#include <cuda_runtime_api.h>

namespace isthmus::gpu {
namespace {

constexpr std::size_t kSharedByDefault = 48 << 10;     // bytes a block; more must be asked for
constexpr std::size_t kMostBlocks = (1ull << 31) - 1;  // of a grid's first axis
constexpr int kMarkedDevices = 64;

struct Launchable {
    explicit Launchable(const Kernel& given) : kernel(given) {}
    Kernel kernel;
    mutable std::atomic<std::uint64_t> raised{0};  // bit i: device i gives a block all of its shared memory
};
using Launchables = std::map<std::string, Launchable, std::less<>>;

template <unsigned... kUnits>
Launchables all_kernels(std::integer_sequence<unsigned, kUnits...>) {
    std::vector<Kernel> kernels;
    (add_kernels<kUnits>(kernels), ...);
    Launchables all;
    for (const Kernel& k : kernels) all.try_emplace(k.name, k);
    return all;
}

const Launchables& launchables() {
    static const Launchables all = all_kernels(std::make_integer_sequence<unsigned, ISTHMUS_CUDA_UNITS>());
    return all;
}

std::string version_text(int version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// What is missing, and how to get it.
std::string advice(cudaError_t error, int device) {
    const std::string built = version_text(CUDART_VERSION);
    switch (error) {
        case cudaErrorInsufficientDriver:
            return "this machine has no NVIDIA driver, or one too old for CUDA " + built +
                   ", which this build is of: install or update the driver; nvidia-smi prints what there is";
        case cudaErrorNoDevice:
            return "this machine shows no NVIDIA GPU: look at nvidia-smi and at the variable CUDA_VISIBLE_DEVICES";
        case cudaErrorNoKernelImageForDevice: {
            int major = 0, minor = 0;
            cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
            cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
            const std::string found = std::to_string(major) + std::to_string(minor);
            return "device " + std::to_string(device) + " has compute capability " + std::to_string(major) + "." +
                   std::to_string(minor) +
                   ", and this build has code for " ISTHMUS_CUDA_ARCHITECTURES
                   " only: build with -DCMAKE_CUDA_ARCHITECTURES=" +
                   found + "-real, or install CuPy, which compiles the kernels at run time";
        }
        case cudaErrorUnsupportedPtxVersion:
        case cudaErrorJitCompilerNotFound:
            return "the driver cannot compile the PTX of CUDA " + built +
                   ": update it, or build with -DCMAKE_CUDA_ARCHITECTURES=native for machine code";
        default: return "";
    }
}

void check(cudaError_t error, const std::string& call, int device) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // lest the next one who asks takes it for theirs
    std::string text = call + ": " + cudaGetErrorString(error);
    if (const std::string more = advice(error, device); !more.empty()) text += "; " + more;
    if (error == cudaErrorMemoryAllocation) throw OutOfMemory(text);
    throw std::runtime_error(text);
}

class CurrentDevice {
  public:
    explicit CurrentDevice(int device) {
        check(cudaGetDevice(&before_), "cudaGetDevice", device);
        if (before_ == device) return;
        check(cudaSetDevice(device), "cudaSetDevice", device);
        changed_ = true;
    }
    ~CurrentDevice() {
        if (changed_) cudaSetDevice(before_);
    }
    CurrentDevice(const CurrentDevice&) = delete;
    CurrentDevice& operator=(const CurrentDevice&) = delete;

  private:
    int before_ = 0;
    bool changed_ = false;
};

const Launchable& checked(const Work& work) {
    const std::string name(work.kernel);
    const auto found = launchables().find(work.kernel);
    if (found == launchables().end()) throw std::invalid_argument("no kernel of this build is named '" + name + "'");
    if (const std::size_t expected = found->second.kernel.task_bytes; work.task.size() != expected)
        throw std::invalid_argument("a task of " + name + " must have " + std::to_string(expected) + " bytes, got " +
                                    std::to_string(work.task.size()) + ": _native and _cuda are of different builds");
    if (work.blocks < 1 || work.blocks > kMostBlocks)
        throw std::invalid_argument("blocks of " + name + " must be 1 to " + std::to_string(kMostBlocks) + ", got " +
                                    std::to_string(work.blocks));
    return found->second;
}

void raise_shared_memory(const Launchable& one, int device) {
    if (one.kernel.shared_bytes <= kSharedByDefault) return;
    const std::uint64_t bit = device < kMarkedDevices ? std::uint64_t(1) << device : 0;
    if (one.raised.load(std::memory_order_acquire) & bit) return;
    const std::string bytes = std::to_string(one.kernel.shared_bytes);
    check(cudaFuncSetAttribute(one.kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               int(one.kernel.shared_bytes)),
          bytes + " bytes of shared memory for a block of " + one.kernel.name, device);
    one.raised.fetch_or(bit, std::memory_order_release);
}

}  // namespace

void launch(int device, std::uintptr_t stream, const std::vector<Work>& works) {
    std::vector<const Launchable*> kernels;
    for (const Work& work : works) kernels.push_back(&checked(work));
    int count = 0;
    check(cudaGetDeviceCount(&count), "cudaGetDeviceCount", device);
    if (device < 0 || device >= count)
        throw std::invalid_argument("device must be 0 to " + std::to_string(count - 1) +
                                    ", the CUDA devices here, got " + std::to_string(device));
    const CurrentDevice current(device);
    for (std::size_t i = 0; i < works.size(); ++i) {
        const Kernel& kernel = kernels[i]->kernel;
        raise_shared_memory(*kernels[i], device);
        void* task = const_cast<char*>(works[i].task.data());  // CUDA copies it
        check(cudaLaunchKernel(kernel.function, dim3(unsigned(works[i].blocks)), dim3(kernel.threads), &task,
                               kernel.shared_bytes, reinterpret_cast<cudaStream_t>(stream)),
              std::string(kernel.name) + " launch", device);
    }
}

int device_count() {
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
    cudaGetLastError();
    return 0;
}

std::map<std::string, std::string> build_info() {
    int driver = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess) cudaGetLastError();
    return {{"cuda", version_text(CUDART_VERSION)},
            {"architectures", ISTHMUS_CUDA_ARCHITECTURES},
            {"driver", driver ? "for CUDA " + version_text(driver) : "none"}};
}

}  // namespace isthmus::gpu
