// The test of csrc/cuda/launch.cpp on a played CUDA runtime with three devices.
#include <cstdio>
#include <cstring>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#define ISTHMUS_CUDA_UNITS 2
#define ISTHMUS_CUDA_ARCHITECTURES "80-virtual"
#include "../../csrc/cuda/launch.cpp"

namespace {

struct Launched {
    const void* function;
    int device;
    unsigned blocks, threads;
    std::size_t shared_bytes;
    cudaStream_t stream;
    std::string task;
};

// The machine, as the functions below see and change it.
std::mutex guard;
std::vector<Launched> launched;
std::multiset<std::pair<int, const void*>> raised;
cudaError_t driver = cudaSuccess, at_launch = cudaSuccess, at_raise = cudaSuccess, last = cudaSuccess;
thread_local int current = 0;

std::atomic<int> checks{0}, failed{0};
void expect(bool truth, const char* what) {
    ++checks;
    if (!truth) ++failed, std::printf("failed: %s\n", what);
}

template <class Error>
std::string message_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& error) {
        return error.what();
    } catch (const std::exception& error) {
        return std::string("another kind of error: ") + error.what();
    }
    return "no error";
}
bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

const char small_function = 0, large_function = 0;  // addresses
const std::string eight(8, 's'), sixteen(16, 'L');

}  // namespace

namespace isthmus::gpu {
template <>
void add_kernels<0>(std::vector<Kernel>& kernels) {
    kernels.push_back({"small", &small_function, 128, 48 << 10, 8});
}
template <>
void add_kernels<1>(std::vector<Kernel>& kernels) {
    kernels.push_back({"large", &large_function, 256, (48 << 10) + 16, 16});
}
}  // namespace isthmus::gpu

cudaError_t fails_with(cudaError_t error) {
    if (error != cudaSuccess) last = error;
    return error;
}
cudaError_t cudaGetDeviceCount(int* count) {
    *count = 3;
    return fails_with(driver);
}
cudaError_t cudaGetDevice(int* device) {
    *device = current;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    current = device;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    *value = attribute == cudaDevAttrComputeCapabilityMajor ? 7 : 5;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
    *version = driver == cudaSuccess ? 13020 : 0;
    return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute, int value) {
    const std::lock_guard<std::mutex> hold(guard);
    if (at_raise == cudaSuccess && value == (48 << 10) + 16) raised.insert({current, function});
    return fails_with(at_raise);
}
cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, std::size_t shared_bytes,
                             cudaStream_t stream) {
    const std::lock_guard<std::mutex> hold(guard);
    if (at_launch != cudaSuccess) return fails_with(at_launch);
    const std::size_t bytes = function == &small_function ? 8 : 16;
    launched.push_back({function, current, grid.x, block.x, shared_bytes, stream,
                        std::string(static_cast<const char*>(arguments[0]), bytes)});
    return cudaSuccess;
}
cudaError_t cudaGetLastError() {
    const cudaError_t found = last;
    last = cudaSuccess;
    return found;
}
const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorIllegalAddress ? "illegal" : "CUDA's text";
}

int main() {
    using isthmus::gpu::launch;
    using isthmus::gpu::OutOfMemory;
    using isthmus::gpu::Work;
    const std::vector<Work> both = {{"large", 7, sixteen}, {"small", 2147483647, eight}};

    current = 2;
    launch(1, 77, both);
    expect(launched.size() == 2, "both launches run");
    const Launched &first = launched[0], &second = launched[1];
    expect(first.function == &large_function && second.function == &small_function, "in their order");
    expect(first.device == 1 && second.device == 1 && current == 2, "on the device, and the one before is back");
    expect(first.blocks == 7 && second.blocks == 2147483647u, "with their blocks");
    expect(first.threads == 256 && second.threads == 128, "with the kernel's threads");
    expect(first.shared_bytes == (48 << 10) + 16 && second.shared_bytes == 48 << 10, "with its shared memory");
    expect(first.stream == reinterpret_cast<cudaStream_t>(77), "on the stream");
    expect(first.task == sixteen && second.task == eight, "with their tasks");
    launch(1, 77, both), launch(2, 77, both);
    expect(raised.count({1, &large_function}) == 1 && raised.count({2, &large_function}) == 1 && raised.size() == 2,
           "shared memory is raised once for each device, where it must be");

    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i)
        threads.emplace_back([&both, i] { launch(i % 3, 0, both), expect(current == 0, "device"); });
    for (std::thread& t : threads) t.join();
    expect(launched.size() == 22 && raised.count({0, &large_function}) >= 1, "threads launch side by side");

    launched.clear();
    const auto refused = [](const Work& work) {
        return message_of<std::invalid_argument>([&] { launch(0, 0, {{"small", 1, eight}, work}); });
    };
    expect(contains(refused({"nothing", 1, eight}), "'nothing'"), "an unknown kernel is named");
    expect(contains(refused({"small", 1, sixteen}), "small must have 8 bytes, got 16"), "a task of another size");
    expect(contains(refused({"small", 2147483648u, eight}), "1 to 2147483647, got 2147483648"), "too many blocks");
    expect(contains(refused({"small", 0, eight}), "got 0"), "no blocks");
    for (const int device : {-1, 3})
        expect(contains(message_of<std::invalid_argument>([&] { launch(device, 0, both); }), "device must be 0 to 2"),
               "a device that is not there");
    expect(launched.empty() && current == 2, "nothing runs unless all can");

    const auto fails = [&both] { return message_of<std::runtime_error>([&both] { launch(1, 0, both); }); };
    at_launch = cudaErrorIllegalAddress;
    expect(fails() == "large launch: illegal", "a failed launch has the kernel's name and CUDA's text");
    expect(current == 2 && last == cudaSuccess, "the device is back and nobody else finds the error");
    at_launch = cudaErrorNoKernelImageForDevice;
    const std::string image = fails();
    expect(contains(image, "compute capability 7.5") && contains(image, "80-virtual") &&
               contains(image, "-DCMAKE_CUDA_ARCHITECTURES=75-real"),
           "a device that this build has no code for");
    at_launch = cudaErrorUnsupportedPtxVersion;
    expect(contains(fails(), "PTX of CUDA 13.0: update it"), "a driver that cannot compile the PTX");
    at_launch = cudaErrorMemoryAllocation;
    expect(contains(message_of<OutOfMemory>([&both] { launch(1, 0, both); }), "large launch"), "out of memory");
    at_launch = cudaSuccess, at_raise = cudaErrorInvalidValue;
    raised.clear();
    expect(message_of<std::runtime_error>([&both] { launch(1, 0, both); }) == "no error", "raised for good on 1");
    at_raise = cudaSuccess;

    driver = cudaErrorInsufficientDriver;
    expect(contains(fails(), "no NVIDIA driver, or one too old for CUDA 13.0"), "no driver");
    expect(isthmus::gpu::device_count() == 0 && last == cudaSuccess, "no driver, no devices");
    expect(isthmus::gpu::build_info().at("driver") == "none", "no driver to report");
    driver = cudaErrorNoDevice;
    expect(contains(fails(), "CUDA_VISIBLE_DEVICES"), "no device");
    driver = cudaSuccess;
    expect(isthmus::gpu::device_count() == 3, "three devices");
    expect(isthmus::gpu::build_info().at("driver") == "for CUDA 13.2", "the driver's version");

    std::printf("%d checks, %d failed\n", int(checks), int(failed));
    return failed != 0;
}
