using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters.Tools;

/// <summary>What a training of all weights has changed, as a LoRA: which files are compared, which numbers come out, and what is refused.</summary>
public sealed class LoraExtractionTests : IDisposable
{
    private const string Weight = "down_blocks.0.attentions.0.proj_in.weight";

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();

    public void Dispose()
    {
        _folder.Dispose();
        _scope.Dispose();
    }

    /// <summary>Differences of known singular values: the rank keeps the largest, the error is the share of the rest.</summary>
    [Fact]
    public void Extract_OfDifferencesOfKnownValues_KeepsTheLargest()
    {
        var line = zeros(4, 3);
        (line[0, 1], line[2, 0], line[3, 2]) = (tensor(12f), tensor(-4f), tensor(3f));
        var conv = zeros(2, 2, 1, 3);
        (conv[0, 1, 0, 2], conv[1, 0, 0, 0]) = (tensor(8f), tensor(6f));
        Save("base", new() { [Weight] = ones(4, 3), ["conv_in.weight"] = ones(2, 2, 1, 3), ["same.weight"] = ones(2, 2) });
        Save("tuned", new() { [Weight] = ones(4, 3) + line, ["conv_in.weight"] = ones(2, 2, 1, 3) + conv, ["same.weight"] = ones(2, 2) });

        var report = LoraExtraction.Extract(
            _folder.In("base"),
            _folder.In("tuned"),
            _folder.In("my lora.safetensors"),
            new RankChoice { Rank = 2, ConvolutionRank = 1 });

        Assert.Empty(report.LeftOut);
        Assert.Equal(
            [("unet", "conv_in", 2, 1), ("unet", "down_blocks.0.attentions.0.proj_in", 3, 2)],
            report.Layers.Select(static fit => (fit.Network, fit.Module, fit.OldRank, fit.Rank)));
        Assert.Equal([(10.0, 0.6), (13.0, 3.0 / 13)], report.Layers.Select(static fit => (Math.Round(fit.Norm, 4), fit.RelativeError)), new Close());
        using var file = LoraFile.Read(_folder.In("my lora.safetensors"));
        var state = file.States["unet"];
        line[3, 2] = tensor(0f);
        conv[1, 0, 0, 0] = tensor(0f);
        Assert.InRange(Fixtures.MaxDifference(line, Product(state, "down_blocks.0.attentions.0.proj_in")), 0, 1e-5);
        Assert.InRange(Fixtures.MaxDifference(conv.flatten(1), Product(state, "conv_in")), 0, 1e-5);
        Assert.Equal([1L, 2, 1, 3], state.Tensors["conv_in.lora_A.weight"].shape);
        Assert.Equal([2L, 1, 1, 1], state.Tensors["conv_in.lora_B.weight"].shape);
        Assert.Equal(("my lora", LoraFileKind.Kohya, "F32"), (file.Metadata["modelspec.title"], file.Kind, Assert.Single(file.StoredTypes)));
        Assert.All(state.Alphas, alpha => Assert.Equal(state.Ranks[alpha.Key], alpha.Value));
    }

    /// <summary>Biases, norms, embeddings and what is no weight are named, not written.</summary>
    [Fact]
    public void Extract_OfWhatALoraCannotHold_NamesIt()
    {
        Dictionary<string, Tensor> weights = new()
        {
            [Weight] = zeros(2, 2),
            ["conv_in.bias"] = zeros(2),
            ["norm.weight"] = zeros(2),
            ["embeddings.token.weight"] = zeros(3, 2),
            ["down_blocks.0.table"] = zeros(2, 2),
            ["odd.weight"] = zeros(2, 2, 2),
        };
        Save("base", weights);
        Save("tuned", weights.ToDictionary(static pair => pair.Key, static pair => pair.Value + 1));

        var report = LoraExtraction.Extract(
            _folder.In("base"),
            _folder.In("tuned"),
            _folder.In("out"),
            new RankChoice { Rank = 1 },
            new LoraWriting { Kind = LoraFileKind.Peft, DType = ScalarType.Float16 });

        Assert.Equal(
            ["unet: conv_in.bias", "unet: down_blocks.0.table", "unet: embeddings.token.weight", "unet: norm.weight", "unet: odd.weight"],
            report.LeftOut);
        Assert.Equal("down_blocks.0.attentions.0.proj_in", Assert.Single(report.Layers).Module);
        Assert.All(
            SafetensorsFile.LoadAll(_folder.In("out", "unet", PeftFolder.WeightsName)).Values,
            static tensor => Assert.Equal(ScalarType.Float16, tensor.dtype));
        Save("only", weights.ToDictionary(static pair => pair.Key, static pair => pair.Key == Weight ? pair.Value : pair.Value + 1));
        Assert.Equal(
            $"No layer of '{_folder.In("only")}' differs from '{_folder.In("base")}'; only unet: conv_in.bias, unet: down_blocks.0.table, unet: "
                + "embeddings.token.weight do, which a LoRA cannot hold. Nothing was written.",
            Refused("base", "only"));
        Assert.Equal($"No layer of '{_folder.In("base")}' differs from '{_folder.In("base")}'. Nothing was written.", Refused("base", "base"));
    }

    /// <summary>Of whole models those networks that both have.</summary>
    [Fact]
    public void Extract_OfWholeModels_ComparesTheNetworksOfBoth()
    {
        foreach (var (model, add) in new[] { ("base", 0f), ("tuned", 1f) })
        {
            Save(Path.Combine(model, "unet"), new() { [Weight] = full(2, 2, add) });
            Save(Path.Combine(model, "text_encoder"), new() { ["text_model.a.weight"] = full(2, 2, add) });
            Save(Path.Combine(model, "text_encoder_2"), new() { ["text_model.b.weight"] = full(2, 2, add) });
            Save(Path.Combine(model, "vae"), new() { ["c.weight"] = full(2, 2, add) });
        }

        var report = LoraExtraction.Extract(_folder.In("base"), _folder.In("tuned"), _folder.In("out.safetensors"), new RankChoice { Rank = 1 });
        Directory.Delete(_folder.In("tuned", "text_encoder"), recursive: true);
        var without = LoraExtraction.Extract(_folder.In("base"), _folder.In("tuned"), _folder.In("out.safetensors"), new RankChoice { Rank = 1 });

        Assert.Equal(["unet", "text_encoder", "text_encoder_2"], report.Layers.Select(static layer => layer.Network));
        Assert.Equal(["unet", "text_encoder_2"], without.Layers.Select(static layer => layer.Network));
    }

    /// <summary>Attentions of more than one block are SDXL's, whose files have the original code's names.</summary>
    [Theory]
    [InlineData(0, "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight")]
    [InlineData(1, "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q.lora_up.weight")]
    public void Extract_OfAUNet_WritesTheNamesOfItsKind(int block, string expected)
    {
        Save("base", new() { [$"down_blocks.1.attentions.0.transformer_blocks.{block}.attn1.to_q.weight"] = zeros(2, 2) });
        Save("tuned", new() { [$"down_blocks.1.attentions.0.transformer_blocks.{block}.attn1.to_q.weight"] = ones(2, 2) });

        LoraExtraction.Extract(_folder.In("base"), _folder.In("tuned"), _folder.In("out.safetensors"), new RankChoice { Rank = 1 });

        Assert.Contains(expected, SafetensorsFile.LoadAll(_folder.In("out.safetensors")).Keys);
    }

    [Fact]
    public void Extract_OfOneNetworkOrFile_IsToldByItsNames()
    {
        Save("a", new() { ["text_model.a.weight"] = zeros(2, 2) });
        Save("b", new() { ["text_model.a.weight"] = ones(2, 2) });

        Assert.Equal(
            "text_encoder",
            Assert.Single(LoraExtraction.Extract(_folder.In("a"), _folder.In("b"), _folder.In("out.safetensors"), new RankChoice { Rank = 1 }).Layers).Network);
        Assert.Equal(
            "text_encoder",
            Assert.Single(LoraExtraction.Extract(
                _folder.In("a", "model.safetensors"),
                _folder.In("b", "model.safetensors"),
                _folder.In("out.safetensors"),
                new RankChoice { Rank = 1 }).Layers).Network);
        Save("strange", new() { ["d"] = ones(1), ["c"] = ones(1), ["b"] = ones(1), ["a"] = ones(1) });
        Assert.Equal(
            $"'{_folder.In("strange")}' is neither a UNet nor a text encoder in diffusers' names: its names begin like 'a', 'b', 'c'. "
                + "Convert an original checkpoint to a model folder first.",
            Refused("strange", "strange"));
    }

    /// <summary>Of several files the one without a variant, or the shards of one.</summary>
    [Fact]
    public void Extract_OfAFolderOfSeveralFiles_TakesThePlainOneOrAllShards()
    {
        Save("base", new() { [Weight] = zeros(2, 2) });
        Save("base", new() { [Weight] = full(2, 2, 9f) }, "model.fp16.safetensors");
        Save("tuned", new() { [Weight] = ones(2, 2) }, "model.fp16.safetensors");
        Save("shards", new() { [Weight] = ones(2, 2) }, "model-00001-of-00002.safetensors");
        Save("shards", new() { ["other.weight"] = ones(2, 2) }, "model-00002-of-00002.safetensors");
        Save("whole", new() { [Weight] = ones(2, 2), ["other.weight"] = zeros(2, 2) });
        Save("two-of-them", new() { [Weight] = ones(2, 2) }, "a.safetensors");
        Save("two-of-them", new() { [Weight] = ones(2, 2) }, "b.safetensors");
        Directory.CreateDirectory(_folder.In("empty"));

        Assert.Equal(
            2,
            Assert.Single(LoraExtraction.Extract(_folder.In("base"), _folder.In("tuned"), _folder.In("out.safetensors"), new RankChoice { Rank = 1 }).Layers).Norm,
            5);
        Assert.Equal(
            "other",
            Assert.Single(
                LoraExtraction.Extract(_folder.In("whole"), _folder.In("shards"), _folder.In("out.safetensors"), new RankChoice { Rank = 1 }).Layers).Module);
        Assert.Equal(
            $"'{_folder.In("two-of-them")}' has several weight files (a.safetensors, b.safetensors), expected one, or shards of one.",
            Refused("two-of-them", "base"));
        foreach (var missing in new[] { "empty", "nowhere" })
        {
            Assert.Equal(
                $"'{_folder.In(missing)}' has no .safetensors weights; expected a model folder with unet/ and text_encoder/, or the folder of one network.",
                Assert.Throws<FileNotFoundException>(() =>
                    LoraExtraction.Extract(_folder.In(missing), _folder.In("base"), _folder.In("none"), new RankChoice { Rank = 1 })).Message);
        }
    }

    [Fact]
    public void Extract_OfModelsOfAnotherKind_ListsEveryDifference()
    {
        Save("base", new() { [Weight] = zeros(2, 2), ["a.weight"] = zeros(2, 2), ["c.weight"] = zeros(2, 2) });
        Save("tuned", new() { [Weight] = ones(2, 2), ["b.weight"] = zeros(2, 2), ["c.weight"] = zeros(2, 3) });
        Save("broken", new() { [Weight] = full(2, 2, float.NaN), ["a.weight"] = zeros(2, 2), ["c.weight"] = zeros(2, 2) });

        Assert.Equal(
            $"The models are not of one architecture (3 faults):\n- only in '{_folder.In("base")}': a.weight\n- only in '{_folder.In("tuned")}': b.weight\n"
                + "- other shapes: c.weight is [2, 2] and [2, 3]",
            Refused("base", "tuned"));
        Assert.Equal($"unet: '{Weight}' has numbers that are not finite in one of the models.", Refused("base", "broken"));
        Assert.Contains(
            "Rank: got 0",
            Assert.Throws<ArgumentException>(() =>
                LoraExtraction.Extract(_folder.In("base"), _folder.In("base"), _folder.In("none"), new RankChoice { Rank = 0 })).Message);
    }

    private sealed class Close : IEqualityComparer<(double, double)>
    {
        public bool Equals((double, double) x, (double, double) y) => Math.Abs(x.Item1 - y.Item1) < 1e-4 && Math.Abs(x.Item2 - y.Item2) < 1e-5;

        public int GetHashCode((double, double) pair) => 0;
    }

    private static Tensor Product(LoraState state, string module) =>
        state.Tensors[$"{module}.lora_B.weight"].flatten(1).matmul(state.Tensors[$"{module}.lora_A.weight"].flatten(1));

    private string Refused(string baseModel, string tuned)
    {
        var message = Assert.Throws<InvalidDataException>(() =>
            LoraExtraction.Extract(_folder.In(baseModel), _folder.In(tuned), _folder.In("none"), new RankChoice { Rank = 1 })).Message;
        Assert.False(Path.Exists(_folder.In("none")));
        return message;
    }

    private void Save(string name, Dictionary<string, Tensor> tensors, string file = "model.safetensors") =>
        SafetensorsFile.Write(_folder.In(name, file), tensors);
}
