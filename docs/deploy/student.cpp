// Run an exported student in C++ with ONNX Runtime: student MODEL.onnx IMAGE.rgb HEIGHT WIDTH
//
// The image is raw RGB bytes, row by row, as decoders return them. All processing (resizing, normalization, meters, unit
// length, argmax) is in the graph. Writes IMAGE.rgb.NAME for each output: raw, in the order of its shape.
//
//   g++ -std=c++17 -O2 student.cpp -I ONNXRUNTIME/include -L ONNXRUNTIME/lib -lonnxruntime -o student
#include <onnxruntime_cxx_api.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

int main(int argc, char** argv) try {
    if (argc != 5) {
        std::cerr << "usage: student MODEL.onnx IMAGE.rgb HEIGHT WIDTH\n";
        return 2;
    }
    const std::string image_path = argv[2];
    const int64_t height = std::stoll(argv[3]), width = std::stoll(argv[4]);
    std::ifstream file(image_path, std::ios::binary);
    std::vector<uint8_t> pixels((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (static_cast<int64_t>(pixels.size()) != height * width * 3) {
        std::cerr << image_path << ": contains " << pixels.size() << " bytes, not " << height << " x " << width << " x 3\n";
        return 1;
    }

    Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "student");
    Ort::SessionOptions options;
    Ort::Session session(env, argv[1], options);
    Ort::AllocatorWithDefaultOptions allocator;

    // Names are owned by the session; copy them.
    const std::string input = session.GetInputNameAllocated(0, allocator).get();
    std::vector<std::string> outputs;
    for (size_t index = 0; index < session.GetOutputCount(); ++index)
        outputs.emplace_back(session.GetOutputNameAllocated(index, allocator).get());
    std::vector<const char*> names;
    for (const auto& name : outputs) names.push_back(name.c_str());

    const int64_t shape[] = {1, height, width, 3};
    auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    auto image = Ort::Value::CreateTensor<uint8_t>(memory, pixels.data(), pixels.size(), shape, 4);
    const char* inputs[] = {input.c_str()};
    auto found = session.Run(Ort::RunOptions{nullptr}, inputs, &image, 1, names.data(), names.size());

    for (size_t index = 0; index < found.size(); ++index) {
        auto info = found[index].GetTensorTypeAndShapeInfo();
        const bool bytes = info.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
        const char* data = bytes ? reinterpret_cast<const char*>(found[index].GetTensorMutableData<uint8_t>())
                                 : reinterpret_cast<const char*>(found[index].GetTensorMutableData<float>());
        std::ofstream(image_path + "." + outputs[index], std::ios::binary)
            .write(data, static_cast<std::streamsize>(info.GetElementCount() * (bytes ? 1 : sizeof(float))));
        std::cout << outputs[index] << (bytes ? " uint8" : " float32");
        for (int64_t side : info.GetShape()) std::cout << " " << side;
        std::cout << "\n";
    }
    return 0;
} catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
}
