using System.Security.Cryptography;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Formats;

/// <summary>What stands in a kohya file: names, facts and hashes, each worked out here from the bytes.</summary>
public sealed class KohyaFileTests : IDisposable
{
    private const string OfNothing = "e3b0c442"; // SHA-256 of no bytes

    private static readonly LoraPart UNet = new("unet", "lora_unet", ["conv_in", "mid_block.attentions.0.proj_in", "mid_block.attentions.0.proj_out"]);

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();
    private readonly string _path;

    public KohyaFileTests() => _path = _folder.In("a.safetensors");

    public void Dispose()
    {
        _folder.Dispose();
        _scope.Dispose();
    }

    /// <summary>1 MiB and 64 KiB are the window of the older hash; the file of upstream has only the facts of the training before the numbers.</summary>
    [Fact]
    public void Write_WithNotes_HashesTheFileWithoutThem()
    {
        const int width = 300_000;
        float[] numbers = [.. Enumerable.Range(0, width).Select(static i => i * 0.5f)];
        var state = new LoraState(
            new Dictionary<string, Tensor>
            {
                ["conv_in.lora_A.weight"] = tensor(numbers, [1, width]),
                ["conv_in.lora_B.weight"] = tensor(new[] { 3f }, [1, 1]),
            },
            new Dictionary<string, double> { ["conv_in"] = 0.5 });

        KohyaFile.Write(
            _path,
            [(UNet, state)],
            new Dictionary<string, string>
            {
                ["ss_output_name"] = "mine",
                ["modelspec.title"] = "a title",
                ["note"] = "a note",
                ["sshs_model_hash"] = "old",
                ["SS_LOUD"] = "no",
            });

        (string, string)[] facts = [("ss_network_alpha", "0.5"), ("ss_network_dim", "1"), ("ss_network_module", "networks.lora"), ("ss_output_name", "mine")];
        (string, string, long[], byte[])[] tensors =
        [
            ("lora_unet_conv_in.alpha", "F32", [], RawSafetensors.Bytes(0.5f)),
            ("lora_unet_conv_in.lora_down.weight", "F32", [1, width], RawSafetensors.Bytes(numbers)),
            ("lora_unet_conv_in.lora_up.weight", "F32", [1, 1], RawSafetensors.Bytes(3)),
        ];
        var hashed = RawSafetensors.Of(facts, tensors);
        var (model, legacy) = (Sha(tensors.SelectMany(static tensor => tensor.Item4)), Sha(hashed[0x100000..0x110000])[..8]);
        var written = RawSafetensors.Of(
            [
                ("SS_LOUD", "no"),
                ("modelspec.hash_sha256", $"0x{model}"),
                ("modelspec.title", "a title"),
                ("note", "a note"),
                .. facts,
                ("sshs_legacy_hash", legacy),
                ("sshs_model_hash", model)
            ],
            tensors);
        Assert.Equal(Sha(written), Sha(File.ReadAllBytes(_path)));
        Assert.Equal((model, Sha(written[0x100000..0x110000])[..8]), KohyaFile.Hashes(_path));
        Assert.NotEqual(legacy, KohyaFile.Hashes(_path).Legacy);
        Assert.Equal([_path], Directory.GetFiles(_folder.Path));
    }

    [Theory]
    [InlineData(0x100000 - 1, 0)]
    [InlineData(0x100000, 0)]
    [InlineData(0x100000 + 1, 1)]
    [InlineData(0x110000, 0x10000)]
    [InlineData(0x110000 + 1, 0x10000)]
    public void Hashes_OfAFileAroundTheWindow_AreThoseOfItsBytes(int length, int inWindow)
    {
        var data = new byte[length - 16];
        new Random(1).NextBytes(data);
        byte[] bytes = [.. BitConverter.GetBytes(8UL), .. "{}      "u8, .. data];
        File.WriteAllBytes(_path, bytes);

        var legacy = Sha(bytes.Skip(0x100000).Take(inWindow))[..8];
        Assert.Equal((Sha(data), legacy), KohyaHashes.OfLora(_path));
        Assert.Equal((Sha(bytes), legacy), KohyaHashes.OfCheckpoint(_path));
        Assert.Equal(inWindow == 0, legacy == OfNothing);
    }

    /// <summary>What the format calls each part.</summary>
    [Theory]
    [InlineData("lora_A.weight", "lora_down.weight")]
    [InlineData("lora_B.weight", "lora_up.weight")]
    [InlineData("lora_mid.weight", "lora_mid.weight")]
    [InlineData("hada_w1_a", "hada_w1_a")]
    [InlineData("hada_w1_b", "hada_w1_b")]
    [InlineData("hada_w2_a", "hada_w2_a")]
    [InlineData("hada_w2_b", "hada_w2_b")]
    [InlineData("hada_t1", "hada_t1")]
    [InlineData("hada_t2", "hada_t2")]
    [InlineData("lokr_w1", "lokr_w1")]
    [InlineData("lokr_w1_a", "lokr_w1_a")]
    [InlineData("lokr_w1_b", "lokr_w1_b")]
    [InlineData("lokr_w2", "lokr_w2")]
    [InlineData("lokr_w2_a", "lokr_w2_a")]
    [InlineData("lokr_w2_b", "lokr_w2_b")]
    [InlineData("lokr_t2", "lokr_t2")]
    [InlineData("dora_scale", "dora_scale")]
    public void Write_OfEachPart_HasKohyasName(string part, string expected)
    {
        Write(new() { [$"conv_in.{part}"] = ones(2, 2) });

        Assert.Contains($"lora_unet_conv_in.{expected}", SafetensorsFile.LoadAll(_path).Keys);
    }

    /// <summary>PEFT's m, flat or of a convolution, has LyCORIS' dimensions there.</summary>
    [Theory]
    [InlineData(new long[] { 2, 3 }, new long[] { 4 }, new long[] { 4, 1 })]
    [InlineData(new long[] { 2, 3, 1, 1 }, new long[] { 4 }, new long[] { 4, 1, 1, 1 })]
    [InlineData(new long[] { 2, 3, 1, 1 }, new long[] { 1, 4, 1, 1 }, new long[] { 4, 1, 1, 1 })]
    public void Write_OfPeftsMagnitude_HasTheDimensionsOfLycoris(long[] down, long[] stored, long[] expected)
    {
        Write(new() { ["conv_in.lora_A.weight"] = ones(down), ["conv_in.lora_magnitude_vector"] = arange(4).to(ScalarType.Float32).reshape(stored) });

        var magnitude = SafetensorsFile.LoadAll(_path)["lora_unet_conv_in.dora_scale"];
        Assert.Equal(expected, magnitude.shape);
        Assert.Equal([0f, 1, 2, 3], magnitude.data<float>().ToArray());
    }

    [Fact]
    public void Write_OfAMagnitudeAlone_TakesItsOwnDimensions()
    {
        Write(new() { ["conv_in.lora_magnitude_vector"] = ones(1, 4, 1, 1) });

        Assert.Equal([4L, 1, 1, 1], SafetensorsFile.LoadAll(_path)["lora_unet_conv_in.dora_scale"].shape);
    }

    /// <summary>Modules, dims and alphas as they are told; "Dynamic" where layers differ.</summary>
    [Theory]
    [InlineData(2, 2, 1.0, 1.0, "2", "1.0")]
    [InlineData(2, 3, 1.5, 1.5, "Dynamic", "1.5")]
    [InlineData(4, 4, 4.0, 0.25, "4", "Dynamic")]
    public void Write_OfLayers_NotesTheirRanksAndAlphas(int rank, int otherRank, double alpha, double otherAlpha, string dim, string noted)
    {
        var state = Pair("conv_in", rank).Concat(Pair("mid_block.attentions.0.proj_in", otherRank)).ToDictionary();

        Write(
            state,
            new() { ["conv_in"] = alpha, ["mid_block.attentions.0.proj_in"] = otherAlpha },
            facts: new() { ["ss_network_dim"] = "99", ["ss_network_module"] = "none", ["ss_network_args"] = "{\"algo\":\"loha\"}" });

        using var file = SafetensorsFile.Open(_path);
        Assert.Equal((dim, noted, "networks.lora"), (file.Metadata["ss_network_dim"], file.Metadata["ss_network_alpha"], file.Metadata["ss_network_module"]));
        Assert.Equal("{\"algo\":\"loha\"}", file.Metadata["ss_network_args"]);
        Assert.Equal((float)otherAlpha, file.Load("lora_unet_mid_block_attentions_0_proj_in.alpha").item<float>());
    }

    [Fact]
    public void Write_WithoutAlphas_NotesTheRankAsAlpha()
    {
        Write(Pair("conv_in", 3));

        using var file = SafetensorsFile.Open(_path);
        Assert.Equal(("3.0", 3f), (file.Metadata["ss_network_alpha"], file.Load("lora_unet_conv_in.alpha").item<float>()));
        Assert.Equal(
            ["modelspec.hash_sha256", "ss_network_alpha", "ss_network_dim", "ss_network_module", "sshs_legacy_hash", "sshs_model_hash"],
            file.Metadata.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(OfNothing, file.Metadata["sshs_legacy_hash"]);
    }

    /// <summary>Arguments that were noted stay as long as they are of the algorithm that the weights tell.</summary>
    [Theory]
    [InlineData("hada_w1_a", null, """{"algo":"loha"}""")]
    [InlineData("hada_w1_a", """{"conv_dim": "4"}""", """{"conv_dim":"4","algo":"loha"}""")]
    [InlineData("hada_w1_a", """{"algo": "loha", "conv_dim": "4"}""", """{"algo":"loha","conv_dim":"4"}""")]
    [InlineData("hada_w1_a", """{"algo": "lokr", "factor": "4"}""", """{"algo":"loha"}""")]
    [InlineData("hada_w1_a", "not json", """{"algo":"loha"}""")]
    [InlineData("lora_mid.weight", """{"algo": "locon", "conv_dim": "4"}""", """{"algo":"locon","conv_dim":"4"}""")]
    [InlineData("hada_w1_a", """{"algo": "locon", "conv_dim": "4"}""", """{"algo":"loha"}""")]
    [InlineData("lora_mid.weight", """{"algo": "loha", "conv_dim": "4"}""", """{"algo":"lora"}""")]
    [InlineData("lokr_w2", null, """{"algo":"lokr"}""")]
    [InlineData("lokr_w2_b", null, """{"algo":"lokr"}""")]
    [InlineData("dora_scale", null, null)]
    public void Write_OfAnAlgorithm_NotesItsArguments(string part, string? noted, string? expected)
    {
        Write(new() { [$"conv_in.{part}"] = ones(2, 2) }, facts: noted is null ? [] : new() { ["ss_network_args"] = noted });

        using var file = SafetensorsFile.Open(_path);
        Assert.Equal(("lycoris.kohya", expected), (file.Metadata["ss_network_module"], file.Metadata.GetValueOrDefault("ss_network_args")));
    }

    [Fact]
    public void Write_OfSeveralAlgorithms_NotesNone()
    {
        Write(new() { ["conv_in.hada_w1_a"] = ones(2, 2), ["mid_block.attentions.0.proj_in.lokr_w2"] = ones(2, 2) });

        using var file = SafetensorsFile.Open(_path);
        Assert.Equal(("lycoris.kohya", false), (file.Metadata["ss_network_module"], file.Metadata.ContainsKey("ss_network_args")));
    }

    /// <summary>A product of two whole matrices has scale 1 there, so one of another scale has no place.</summary>
    [Theory]
    [InlineData("""{"r": 4, "alpha": 4}""", true)]
    [InlineData("""{"r": 4, "alpha": 2}""", false)]
    [InlineData(null, true)]
    public void Write_OfWholeKroneckerFactors_HoldsThoseOfScaleOne(string? config, bool holds)
    {
        var tensors = new Dictionary<string, Tensor> { ["conv_in.lokr_w1"] = ones(2, 2), ["conv_in.lokr_w2"] = ones(2, 2) };
        var state = new LoraState(tensors, config: config is null ? null : System.Text.Json.Nodes.JsonNode.Parse(config)!.AsObject());

        var error = Record.Exception(() => KohyaFile.Write(_path, [(UNet, state)]));

        Assert.Equal(holds, File.Exists(_path));
        Assert.Equal(
            holds
                ? null
                : "A kohya file holds only low-rank updates of linear layers and convolutions, and whole Kronecker products at scale 1. "
                    + "It has no place for these; save as a PEFT folder:\n- conv_in.lokr_w1\n- conv_in.lokr_w2",
            error?.Message);
    }

    [Fact]
    public void Write_OfOneWholeFactorAtAnotherScale_HoldsIt()
    {
        var tensors = new Dictionary<string, Tensor>
        {
            ["conv_in.lokr_w1"] = ones(2, 2),
            ["conv_in.lokr_w2_a"] = ones(2, 1),
            ["conv_in.lokr_w2_b"] = ones(1, 2),
        };

        KohyaFile.Write(_path, [(UNet, new LoraState(tensors, config: System.Text.Json.Nodes.JsonNode.Parse("""{"r": 1, "alpha": 2}""")!.AsObject()))]);

        Assert.True(File.Exists(_path));
    }

    /// <summary>Everything without a place is named, by ten names at most, and nothing is written.</summary>
    [Fact]
    public void Write_OfWhatTheFormatLacks_NamesTenAndWritesNothing()
    {
        var tensors = Enumerable.Range(0, 10)
            .Select(static i => $"no.such.{i}.lora_A.weight")
            .Append("bias")
            .Append("conv_in.bias").Reverse()
            .ToDictionary(static name => name, static _ => ones(1));

        var message = Assert.Throws<ArgumentException>(() => Write(tensors)).Message;

        Assert.EndsWith(
            $":\n- bias\n- conv_in.bias\n{string.Join('\n', Enumerable.Range(0, 8).Select(static i => $"- no.such.{i}.lora_A.weight"))}\n- and 2 more",
            message);
        Assert.Empty(Directory.GetFiles(_folder.Path));
    }

    [Theory]
    [InlineData(null, ScalarType.Float16)]
    [InlineData(ScalarType.BFloat16, ScalarType.BFloat16)]
    public void Write_WithAType_GivesItToWeightsAndAlphas(ScalarType? asked, ScalarType expected)
    {
        var tensors = Pair("conv_in", 2).ToDictionary(static pair => pair.Key, static pair => pair.Value.to(ScalarType.Float16));

        KohyaFile.Write(_path, [(UNet, new LoraState(tensors))], dtype: asked);

        Assert.All(SafetensorsFile.LoadAll(_path).Values, tensor => Assert.Equal(expected, tensor.dtype));
    }

    [Fact]
    public void Write_OfNumbersThatAreNotFinite_NamesThemBeforeThoseThatAreTooLarge()
    {
        var tensors = Pair("conv_in", 2);
        tensors["conv_in.lora_A.weight"][0, 0] = float.NaN;
        tensors["conv_in.lora_B.weight"].mul_(1e6);

        var message = Assert.Throws<InvalidDataException>(() => Write(tensors, new() { ["conv_in"] = double.PositiveInfinity }, ScalarType.Float16)).Message;

        Assert.Equal(
            $"'{_path}' was not written: 2 weights to be written have numbers that are not finite, expected finite ones. "
                + "The training diverged, or a file was damaged; take an earlier checkpoint:\n- conv_in.lora_A.weight\n- conv_in.alpha",
            message);
        Assert.Empty(Directory.GetFiles(_folder.Path));
    }

    [Fact]
    public void Write_OfNumbersTooLargeForTheType_NamesThemWithTheLargest()
    {
        var tensors = Pair("conv_in", 2);
        tensors["conv_in.lora_B.weight"].mul_(-1e6);

        var message = Assert.Throws<ArgumentException>(() => Write(tensors, new() { ["conv_in"] = 70000 }, ScalarType.Float16)).Message;

        Assert.Equal(
            $"'{_path}' was not written: 2 weights would overflow to infinity, expected numbers that the type holds. Write bf16 or fp32:\n"
                + "- conv_in.lora_B.weight (up to 1E+06, Float16)\n- conv_in.alpha (up to 7E+04, Float16)",
            message);
        Assert.Empty(Directory.GetFiles(_folder.Path));
    }

    private static Dictionary<string, Tensor> Pair(string module, int rank) =>
        new() { [$"{module}.lora_A.weight"] = ones(rank, 3), [$"{module}.lora_B.weight"] = ones(4, rank) };

    private static string Sha(IEnumerable<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData([.. bytes]));

    private void Write(
        Dictionary<string, Tensor> tensors,
        Dictionary<string, double>? alphas = null,
        ScalarType? dtype = ScalarType.Float32,
        Dictionary<string, string>? facts = null) =>
        KohyaFile.Write(_path, [(UNet, new LoraState(tensors, alphas))], facts, dtype);
}
