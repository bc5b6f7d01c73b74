__global__ void probe(const __grid_constant__ int task) { (void)task; }
int main() { return 0; }
