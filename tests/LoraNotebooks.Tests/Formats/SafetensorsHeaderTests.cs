using System.Text;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;

namespace LoraNotebooks.Tests.Formats;

/// <summary>Every check of a header by a file that only this check refuses, with the whole fault.</summary>
public sealed class SafetensorsHeaderTests : IDisposable
{
    private const string Types = "BOOL, U8, I8, I16, I32, I64, F16, BF16, F32, F64, U16, U32, U64, F8_E4M3, F8_E5M2, F8_E4M3FNUZ, F8_E5M2FNUZ, F8_E8M0";
    private const string NeedsAll = "'a' needs dtype, shape and two data_offsets";

    private readonly TemporaryFolder _folder = new();
    private readonly string _path;

    public SafetensorsHeaderTests() => _path = _folder.In("a.safetensors");

    public void Dispose() => _folder.Dispose();

    /// <summary>Header, and its fault beside 8 bytes of data.</summary>
    public static TheoryData<string, string> Faults => new()
    {
        { """{"a":1}""", NeedsAll },
        { """{"a":null}""", NeedsAll },
        { """{"a":{"shape":[2],"data_offsets":[0,8]}}""", NeedsAll },
        { """{"a":{"dtype":32,"shape":[2],"data_offsets":[0,8]}}""", NeedsAll },
        { """{"a":{"dtype":"F32","data_offsets":[0,8]}}""", NeedsAll },
        { """{"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}}""", NeedsAll },
        { """{"a":{"dtype":"F32","shape":[2]}}""", NeedsAll },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":8}}""", NeedsAll },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}""", NeedsAll },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}""", NeedsAll },
        { """{"a":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}}""", $"'a' has the unknown dtype f32, expected one of {Types}" },
        { """{"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}}""", "'a' has the size \"2\" in its shape, expected a number of 0 or more" },
        { """{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}""", "'a' has the size 2.5 in its shape, expected a number of 0 or more" },
        { """{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}}""", "'a' has the size -1 in its shape, expected a number of 0 or more" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0.5,8]}}""", "'a' has data_offsets [0.5,8], expected 0 ≤ begin ≤ end ≤ 8" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8.5]}}""", "'a' has data_offsets [0,8.5], expected 0 ≤ begin ≤ end ≤ 8" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[-1,7]}}""", "'a' has data_offsets [-1,7], expected 0 ≤ begin ≤ end ≤ 8" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", "'a' has data_offsets [8,0], expected 0 ≤ begin ≤ end ≤ 8" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}}""", "'a' has data_offsets [1,9], expected 0 ≤ begin ≤ end ≤ 8" },
        { """{"a":{"dtype":"F32","shape":[1,3],"data_offsets":[0,8]}}""", "'a' of shape [1, 3] and dtype F32 needs 12 bytes, its data_offsets give 8" },
        { """{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,8]}}""", "'a' of shape [4] and dtype U8 needs 4 bytes, its data_offsets give 8" },

        // 2^63 bytes are more than a file can have; all three sizes make 2^186, of which 128 bits are zero.
        { """{"a":{"dtype":"I16","shape":[4611686018427387904,4611686018427387904,4611686018427387904],"data_offsets":[0,0]}}""",
            "'a' of shape [4611686018427387904, 4611686018427387904, 4611686018427387904] and dtype I16 needs 9223372036854775808 "
                + "bytes, its data_offsets give 0" },
        { """{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[0],"data_offsets":[8,8]}}""", "'a' appears twice" },
        { """{"__metadata__":[],"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}""", "__metadata__ is not an object" },
        { """{"__metadata__":{"k":null},"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}""", "__metadata__['k'] is Null, expected a string" },
        {
            """{"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}""",
            "'b' begins at 4 and overlaps the tensor before it, which ends at 5"
        },
        {
            """{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}""",
            "'b' begins at 2 and overlaps the tensor before it, which ends at 8"
        },
        {
            """{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}""",
            "bytes 3 to 4 before 'b' belong to no tensor"
        },
        { """{"b":{"dtype":"U8","shape":[3],"data_offsets":[4,7]}}""", "bytes 0 to 4 before 'b' belong to no tensor" },
        { """{"a":{"dtype":"U8","shape":[7],"data_offsets":[0,7]}}""", "the tensors end at 7, the file has 8 bytes of data" },
        { "{}", "the tensors end at 0, the file has 8 bytes of data" },

        // Where an entry is wrong, what it leaves open is no fault of its own.
        {
            """{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]},"b":{"dtype":"U8","shape":[3],"data_offsets":[0,4]}}""",
            "'b' of shape [3] and dtype U8 needs 3 bytes, its data_offsets give 4"
        },
        {
            """{"a":3,"b":{"dtype":"U8","shape":[3],"data_offsets":[0,4]}}""",
            $"{NeedsAll}; 'b' of shape [3] and dtype U8 needs 3 bytes, its data_offsets give 4"
        },
        { """{"a":{"dtype":"F4","shape":[16],"data_offsets":[0,8]},"b":3}""", "'b' needs dtype, shape and two data_offsets" },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public void Open_WithOneFault_SaysOnlyThat(string header, string fault)
    {
        File.WriteAllBytes(_path, RawSafetensors.Of(header, new byte[8]));

        Assert.Equal($"{_path} has a faulty safetensors header: {fault}. Download or save the file again.", Refused());
    }

    [Theory]
    [InlineData("""["a"]""", "the header is not a JSON object")]
    [InlineData("""{"a":""", null)]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":["0",8]}}""", null)]
    [InlineData("", null)]
    public void Open_WithAHeaderThatIsNoHeader_SaysWhy(string header, string? reason)
    {
        File.WriteAllBytes(_path, RawSafetensors.Of(header, new byte[8]));

        Assert.Matches(
            $"^{RegexOf(_path)} is not a safetensors file: its header cannot be read \\({(reason is null ? ".+" : RegexOf(reason))}\\)\\. "
                + "Download or save the file again\\.$",
            Refused());
    }

    [Theory]
    [InlineData("""{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"empty":{"dtype":"F32","shape":[3,0],"data_offsets":[0,0]}}""")]
    [InlineData("""{"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]},"empty":{"dtype":"F64","shape":[0],"data_offsets":[4,4]},"a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]}}""")]
    [InlineData("""{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"empty":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}""")]
    [InlineData("""{"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"__metadata__":{}}""")]
    [InlineData("""{"a":{"data_offsets":[0,8],"more":{},"shape":[1,1],"dtype":"I64"}}""")]
    public void Open_OfTensorsInAnyOrderAndEmptyOnes_ReadsThem(string header)
    {
        File.WriteAllBytes(_path, RawSafetensors.Of(header, new byte[8]));

        using var file = SafetensorsFile.Open(_path);

        Assert.Empty(file.Metadata);
        Assert.Equal(8, file.Tensors.Values.Sum(static info => info.Length));
        Assert.All(file.Tensors.Values, static info => Assert.Equal(info.Shape.Aggregate(1L, static (all, size) => all * size), info.Count));
    }

    [Fact]
    public void Open_WithManyFaults_NamesTenAndCountsTheRest()
    {
        File.WriteAllBytes(_path, RawSafetensors.Of($"{{{string.Join(',', Enumerable.Range(10, 13).Select(static i => $"\"t{i}\":1"))}}}", 1, 2));

        Assert.Equal(
            $"{_path} has a faulty safetensors header: "
                + $"{string.Join("; ", Enumerable.Range(10, 10).Select(static i => $"'t{i}' needs dtype, shape and two data_offsets"))}; and 3 more. "
                + "Download or save the file again.",
            Refused());
    }

    [Fact]
    public void Open_OfTypesThatAreNotRead_NamesThemAndWhatIs()
    {
        File.WriteAllBytes(
            _path,
            RawSafetensors.Of(
                """{"a":{"dtype":"F6_E3M2","shape":[4],"data_offsets":[0,3]},"b":{"dtype":"C64","shape":[1],"data_offsets":[0,5]}}""",
                new byte[8]));

        Assert.Equal(
            $"{_path} holds numbers of types that are not supported here, though the file may be sound: F6_E3M2 ('a'), C64 ('b'). Expected {Types}; "
                + "convert the file to F16, BF16 or F32 with the tool that made it.",
            Refused());
    }

    [Theory]
    [InlineData(new byte[] { 0x80, 2, 1 }, "a pickled PyTorch file")]
    [InlineData(new byte[] { 0x80, 5, 1 }, "a pickled PyTorch file")]
    [InlineData(new byte[] { 0x80, 1, 1 }, null)]
    [InlineData(new byte[] { 0x80, 6, 1 }, null)]
    [InlineData(new byte[] { 0x81, 2, 1 }, null)]
    [InlineData(new byte[] { (byte)'P', (byte)'K', 3, 4 }, "a pickled PyTorch file")]
    [InlineData(new byte[] { (byte)'P', (byte)'K', 3, 5 }, null)]
    [InlineData(new byte[] { (byte)'G', (byte)'G', (byte)'U', (byte)'F' }, "a GGUF file")]
    [InlineData(new byte[] { 0xEF, 0xBB, 0xBF, (byte)' ', (byte)'<', (byte)'h' }, "a web page")]
    [InlineData(new byte[] { (byte)'h', (byte)'<' }, null)]
    public void Open_ByTheFirstBytes_TellsOtherKindsApart(byte[] beginning, string? kind)
    {
        File.WriteAllBytes(_path, [.. beginning, .. Enumerable.Repeat((byte)'.', 12 - beginning.Length)]);

        Assert.StartsWith(
            kind is null ? $"{_path} is not a safetensors file or is truncated: its first 8 bytes announce" : $"'{_path}' is no safetensors file but {kind}",
            Refused());
    }

    /// <summary>What would be another kind's mark is none where a header begins in its place.</summary>
    [Fact]
    public void Open_WhereAHeaderBegins_NeverTakesItsLengthForAMark()
    {
        var beginning = Encoding.ASCII.GetBytes("PK\u0003\u0004\0\0\0\0{       ");
        File.WriteAllBytes(_path, beginning);

        Assert.Equal(
            $"{_path} is not a safetensors file or is truncated: its first 8 bytes announce a header of {BitConverter.ToUInt64(beginning)} bytes, 8 bytes "
                + "follow. Download or save the file again.",
            Refused());
    }

    [Fact]
    public void Open_OfTheSmallestFile_IsReadAndOneByteLessIsNot()
    {
        File.WriteAllBytes(_path, RawSafetensors.Of("{}"));
        using (var file = SafetensorsFile.Open(_path))
        {
            Assert.Empty(file.Tensors);
        }

        File.WriteAllBytes(_path, RawSafetensors.Of("{"));

        Assert.Equal($"{_path} has 9 bytes, a safetensors file has at least 10. Download or save the file again.", Refused());
    }

    [Fact]
    public void Open_OfAHeaderOneByteLongerThanTheFile_IsRefused()
    {
        File.WriteAllBytes(_path, [.. BitConverter.GetBytes(3UL), (byte)'{', (byte)'}']);

        Assert.Equal(
            $"{_path} is not a safetensors file or is truncated: its first 8 bytes announce a header of 3 bytes, 2 bytes follow. "
                + "Download or save the file again.",
            Refused());
    }

    /// <summary>Upstream's limit of 100 MB; the file is a hole but for its beginning.</summary>
    [Fact]
    public void Open_OfAHeaderBeyondUpstreamsLimit_IsRefusedUnread()
    {
        using (var stream = File.Create(_path))
        {
            stream.Write([.. BitConverter.GetBytes(100_000_001UL), (byte)'{', (byte)'}']);
            stream.SetLength(100_001_000);
        }

        Assert.StartsWith($"{_path} is not a safetensors file or is truncated: its first 8 bytes announce a header of 100000001 bytes", Refused());
    }

    /// <summary>A header of more than a megabyte is nothing special.</summary>
    [Fact]
    public void Open_OfAHugeHeader_ReadsEveryEntry()
    {
        var names = Enumerable.Range(0, 4_000).Select(static i => $"{new string('n', 300)}.{i}").ToList();
        File.WriteAllBytes(
            _path,
            RawSafetensors.Of([("note", new string('x', 100_000))], [.. names.Select(static (name, i) => (name, "U8", new long[] { 1 }, new[] { (byte)i }))]));

        using var file = SafetensorsFile.Open(_path);
        using var last = file.Load(names[^1]);

        Assert.Equal((4_000, 100_000, (byte)(3_999 % 256)), (file.Tensors.Count, file.Metadata["note"].Length, last.item<byte>()));
    }

    [Fact]
    public void Open_OfNothing_SaysWhatWasExpected() => Assert.Equal(
        $"There is no safetensors file at {_path}: expected one there. Check the path, or download the file.",
        Assert.Throws<FileNotFoundException>(() => SafetensorsFile.Open(_path)).Message);

    private string Refused() => Assert.Throws<InvalidDataException>(() => SafetensorsFile.Open(_path)).Message;

    private static string RegexOf(string text) => System.Text.RegularExpressions.Regex.Escape(text);
}
