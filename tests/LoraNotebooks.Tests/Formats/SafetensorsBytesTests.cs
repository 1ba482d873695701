using System.Runtime.InteropServices;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Formats;

/// <summary>Safetensors files against bytes that are put together by hand: what is written, and what is loaded.</summary>
public sealed class SafetensorsBytesTests : IDisposable
{
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();
    private readonly string _path;

    public SafetensorsBytesTests() => _path = _folder.In("a.safetensors");

    public void Dispose()
    {
        _folder.Dispose();
        _scope.Dispose();
    }

    /// <summary>The numbers 1 and 2 in every type that is written, by falling size and then by name.</summary>
    public static IReadOnlyList<(string Type, ScalarType Memory, byte[] Bytes)> Native { get; } =
    [
        ("F64", ScalarType.Float64, [0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 0, 0, 0, 0, 0, 0, 0, 0x40]),
        ("I64", ScalarType.Int64, [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]),
        ("F32", ScalarType.Float32, [0, 0, 0x80, 0x3F, 0, 0, 0, 0x40]),
        ("I32", ScalarType.Int32, [1, 0, 0, 0, 2, 0, 0, 0]),
        ("BF16", ScalarType.BFloat16, [0x80, 0x3F, 0, 0x40]),
        ("F16", ScalarType.Float16, [0, 0x3C, 0, 0x40]),
        ("I16", ScalarType.Int16, [1, 0, 2, 0]),
        ("BOOL", ScalarType.Bool, [1, 1]),
        ("I8", ScalarType.Int8, [1, 2]),
        ("U8", ScalarType.Byte, [1, 2]),
    ];

    [Fact]
    public void Write_OfEveryType_GivesTheFormatsBytes()
    {
        var tensors = Native.Reverse().ToDictionary(static type => type.Type, static type => tensor(new[] { 1.0, 2.0 }).to(type.Memory));

        SafetensorsFile.Write(_path, tensors, new Dictionary<string, string> { ["z"] = "last", ["A"] = "first", ["a"] = "é \\\" <&'" });

        Assert.Equal(
            RawSafetensors.Of(
                [("A", "first"), ("a", "é \\\\\\\" <&'"), ("z", "last")],
                [.. Native.Select(static type => (type.Type, type.Type, new long[] { 2 }, type.Bytes))]),
            File.ReadAllBytes(_path));
    }

    [Fact]
    public void Load_OfEveryType_GivesItsNumbersAndOutlivesTheFile()
    {
        File.WriteAllBytes(_path, RawSafetensors.Of([], [.. Native.Select(static type => (type.Type, type.Type, new long[] { 1, 2 }, type.Bytes))]));

        Dictionary<string, Tensor> read;
        using (var file = SafetensorsFile.Open(_path))
        {
            read = file.Tensors.Keys.ToDictionary(static name => name, name => file.Load(name));
            Assert.All(Native, type => Assert.Equal((type.Memory, type.Type), (file.Tensors[type.Type].DType, file.Tensors[type.Type].StoredType)));
        }

        File.Delete(_path);
        Assert.All(Native, type =>
        {
            Assert.Equal(type.Memory, read[type.Type].dtype);
            Assert.Equal([1L, 2L], read[type.Type].shape);
            Assert.Equal(type.Type == "BOOL" ? [1.0, 1.0] : [1.0, 2.0], read[type.Type].to(ScalarType.Float64).data<double>().ToArray());
            Assert.False(read[type.Type].requires_grad);
        });
    }

    [Fact]
    public void Load_IntoAnotherTypeOrDevice_Converts()
    {
        File.WriteAllBytes(_path, RawSafetensors.Of([], [("a", "F32", [2], RawSafetensors.Bytes(1.5f, -2f)), ("b", "F32", [0, 3], [])]));
        using var file = SafetensorsFile.Open(_path);

        Assert.Equal([1L, -2L], file.Load("a", ScalarType.Int64).data<long>().ToArray());
        Assert.Equal((ScalarType.Float32, DeviceType.META), (file.Load("a", device: META).dtype, file.Load("a", device: META).device_type));
        Assert.Equal([0L, 3L], file.Load("b", ScalarType.Float16).shape);
        var all = SafetensorsFile.LoadAll(_path, ScalarType.Float64, META);
        Assert.Equal(["a", "b"], all.Keys.Order(StringComparer.Ordinal));
        Assert.All(all.Values, static tensor => Assert.Equal((ScalarType.Float64, DeviceType.META), (tensor.dtype, tensor.device_type)));
    }

    [Fact]
    public void Write_OfScalarsEmptyOnesAndViews_WritesThemRowByRow()
    {
        var table = tensor(new float[] { 1, 2, 3, 4, 5, 6 }, [2, 3]);

        SafetensorsFile.Write(
            _path,
            new Dictionary<string, Tensor> { ["view"] = table.t(), ["number"] = tensor(7f), ["empty"] = zeros(0, 4), ["trained"] = ones(1).requires_grad_() });

        Assert.Equal(
            RawSafetensors.Of(
                [],
                [
                    ("empty", "F32", [0, 4], []),
                    ("number", "F32", [], RawSafetensors.Bytes(7)),
                    ("trained", "F32", [1], RawSafetensors.Bytes(1)),
                    ("view", "F32", [3, 2], RawSafetensors.Bytes(1, 4, 2, 5, 3, 6))
                ]),
            File.ReadAllBytes(_path));
    }

    [Fact]
    public void Write_OfATypeThatTheFormatLacks_IsRefusedBeforeAFileIsMade()
    {
        var message = Assert.Throws<ArgumentException>(() =>
            SafetensorsFile.Write(_path, new Dictionary<string, Tensor> { ["a"] = zeros(2, ScalarType.ComplexFloat64) })).Message;

        Assert.Equal(
            "A safetensors file cannot hold ComplexFloat64; expected one of Bool, Byte, Int8, Int16, Int32, Int64, Float16, BFloat16, Float32, Float64. "
                + "Convert the tensor first.",
            message);
        Assert.Empty(Directory.GetFiles(_folder.Path));
    }

    /// <summary>Numbers that must be converted are converted in stretches of 2²⁰; this file has one whole stretch and a short one.</summary>
    [Fact]
    public void Load_OfMoreNumbersThanAreConvertedAtOnce_GivesThemAll()
    {
        const int count = (1 << 20) + 3;
        ushort[] numbers = [.. Enumerable.Range(0, count).Select(static i => (ushort)((i * 7) + (i >> 16)))];
        File.WriteAllBytes(
            _path,
            RawSafetensors.Of(
                [],
                [("first", "U8", [2], [9, 9]), ("a", "U16", [count], MemoryMarshal.AsBytes(numbers.AsSpan()).ToArray()), ("last", "U8", [1], [7])]));
        using var file = SafetensorsFile.Open(_path);

        Assert.True(numbers.Select(static number => (int)number).SequenceEqual(file.Load("a").data<int>().ToArray()));
        Assert.Equal(7, file.Load("last").item<byte>());
    }

    [Fact]
    public void Load_OfAnUnsignedNumberBeyondInt64_NamesTheTensorAndTheType()
    {
        File.WriteAllBytes(_path, RawSafetensors.Of([], [("big", "U64", [1], [0, 0, 0, 0, 0, 0, 0, 0x80])]));
        using var file = SafetensorsFile.Open(_path);

        Assert.Equal(
            $"{_path}: 'big' holds a number of type U64 that is too large for Int64, expected at most 9223372036854775807. Save it in another type.",
            Assert.Throws<InvalidDataException>(() => file.Load("big")).Message);
    }

    [Fact]
    public void Load_OfANameThatIsNotThere_NamesFiveThatAre()
    {
        File.WriteAllBytes(_path, RawSafetensors.Of([], [.. Enumerable.Range(1, 7).Select(static i => ($"t{i}", "U8", new long[] { 1 }, new byte[] { 1 }))]));
        using var file = SafetensorsFile.Open(_path);

        Assert.Equal($"{_path} has no tensor 'x'. It has 7, among them t1, t2, t3, t4, t5.", Assert.Throws<KeyNotFoundException>(() => file.Load("x")).Message);
        Assert.Equal(_path, file.Path);
        file.Dispose();
        file.Dispose();
        Assert.Throws<ObjectDisposedException>(() => file.Load("t1"));
    }
}
