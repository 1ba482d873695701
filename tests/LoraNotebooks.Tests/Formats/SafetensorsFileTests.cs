using System.Buffers.Binary;
using System.Text;
using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Formats;

public sealed class SafetensorsFileTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("lora-safetensors").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    public static TheoryData<string, string> LyingHeaders => new()
    {
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}""", "needs 8 bytes" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,800]}}""", "data_offsets" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "overlaps" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", "belong to no tensor" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", "end at 4" },
        { """{"a":{"dtype":"F12","shape":[2],"data_offsets":[0,8]}}""", "unknown dtype F12" },
        { """{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", "size -2" },
        { """{"a":{"dtype":"F64","shape":[4611686018427387904,4611686018427387904],"data_offsets":[0,8]}}""", "its data_offsets give 8" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", "appears twice" },
        { """{"a":{"dtype":"F32","shape":[2]}}""", "needs dtype, shape" },
        { """{"__metadata__":{"k":1},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "expected a string" },
        { """["a"]""", "not a JSON object" },
        { """{"a":""", "cannot be read" },
    };

    [Fact]
    public void Write_EveryDtypeAndShape_ReadsBackEqualAndSecondWriteIsByteIdentical()
    {
        var tensors = new Dictionary<string, Tensor>
        {
            ["scalar"] = tensor(3.5f),
            ["empty"] = zeros([0, 4]),
            ["half"] = randn([3, 5]).to(ScalarType.Float16),
            ["brain"] = randn([2, 2, 2]).to(ScalarType.BFloat16),
            ["long"] = arange(7, dtype: ScalarType.Int64),
            ["byte"] = arange(5, dtype: ScalarType.Byte),
            ["strided"] = randn([4, 6]).t(),
        };
        var path = Path.Combine(_folder, "a.safetensors");
        SafetensorsFile.Write(path, tensors, new Dictionary<string, string> { ["format"] = "pt", ["captión"] = "\"quoted\"" });

        using var file = SafetensorsFile.Open(path);
        var read = file.Tensors.Keys.ToDictionary(n => n, n => file.Load(n));

        Assert.Equal("\"quoted\"", file.Metadata["captión"]);
        Assert.Equal(tensors.Keys.Order(), read.Keys.Order());
        foreach (var (name, tensor) in tensors)
        {
            Assert.Equal(tensor.dtype, read[name].dtype);
            Assert.Equal(tensor.shape, read[name].shape);
            Assert.True(tensor.equal(read[name]).all().item<bool>(), name);
        }

        var second = Path.Combine(_folder, "b.safetensors");
        SafetensorsFile.Write(second, read.Reverse().ToDictionary(), file.Metadata);
        Assert.Equal(File.ReadAllBytes(path), File.ReadAllBytes(second));
    }

    [Theory]
    [MemberData(nameof(LyingHeaders))]
    public void Open_LyingHeader_SaysWhatIsWrong(string header, string expected)
    {
        var path = WriteRaw(Encoding.UTF8.GetBytes(header), data: 8);

        var error = Assert.Throws<InvalidDataException>(() => SafetensorsFile.Open(path));

        Assert.Contains(expected, error.Message);
        Assert.Contains(path, error.Message);
    }

    [Fact]
    public void Open_SeveralFaults_ReportsAllAtOnce()
    {
        var path = WriteRaw(
            """{"a":{"dtype":"F12","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[9],"data_offsets":[0,8]}}"""u8.ToArray(),
            data: 8);

        var error = Assert.Throws<InvalidDataException>(() => SafetensorsFile.Open(path));

        Assert.Contains("F12", error.Message);
        Assert.Contains("needs 36 bytes", error.Message);
    }

    [Fact]
    public void Open_TruncatedAnywhere_IsAlwaysAClearError()
    {
        var whole = Path.Combine(_folder, "whole.safetensors");
        SafetensorsFile.Write(whole, new Dictionary<string, Tensor> { ["a"] = randn([3]) });
        var bytes = File.ReadAllBytes(whole);
        var path = Path.Combine(_folder, "cut.safetensors");
        for (var length = 0; length < bytes.Length; length++)
        {
            File.WriteAllBytes(path, bytes[..length]);
            Assert.Throws<InvalidDataException>(() => SafetensorsFile.Open(path));
        }
    }

    [Fact]
    public void Open_HugeHeaderLength_IsRefusedWithoutAllocating()
    {
        var path = Path.Combine(_folder, "huge.safetensors");
        var bytes = new byte[64];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, ulong.MaxValue);
        File.WriteAllBytes(path, bytes);

        Assert.Contains("truncated", Assert.Throws<InvalidDataException>(() => SafetensorsFile.Open(path)).Message);
    }

    [Fact]
    public void Write_FailingTensor_LeavesTheFormerFile()
    {
        var path = Path.Combine(_folder, "kept.safetensors");
        SafetensorsFile.Write(path, new Dictionary<string, Tensor> { ["a"] = ones([2]) });
        var before = File.ReadAllBytes(path);
        var disposed = ones([2]);
        var tensors = new Dictionary<string, Tensor> { ["a"] = disposed };
        disposed.Dispose();

        Assert.ThrowsAny<Exception>(() => SafetensorsFile.Write(path, tensors));

        Assert.Equal(before, File.ReadAllBytes(path));
        Assert.Single(Directory.GetFiles(_folder));
    }

    [Fact]
    public void Load_UnknownName_NamesTheFile()
    {
        var path = Path.Combine(_folder, "names.safetensors");
        SafetensorsFile.Write(path, new Dictionary<string, Tensor> { ["weight"] = ones([2]) });
        using var file = SafetensorsFile.Open(path);

        Assert.Contains("weight", Assert.Throws<KeyNotFoundException>(() => file.Load("bias")).Message);
    }

    private string WriteRaw(byte[] header, int data)
    {
        var path = Path.Combine(_folder, Guid.NewGuid().ToString("N") + ".safetensors");
        var bytes = new byte[8 + header.Length + data];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, (ulong)header.Length);
        header.CopyTo(bytes, 8);
        File.WriteAllBytes(path, bytes);
        return path;
    }
}
