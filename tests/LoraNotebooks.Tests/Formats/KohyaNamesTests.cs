using LoraNotebooks.Formats;

namespace LoraNotebooks.Tests.Formats;

/// <summary>Names of modules in kohya's files, there and back, over every weight of the models in the parity cases.</summary>
[Trait("Category", "Parity")]
public sealed class KohyaNamesTests
{
    private const string SdxlCase = "sdxl-kohya-sgm-names";

    /// <summary>Every network of the folder's models; sdxl-tiny is too large to lie in tests/Fixtures and is there only in a whole folder of cases.</summary>
    public static TheoryData<string, string> Networks { get; } = NetworksOf("sd15-tiny", "sd2-tiny", "sdxl-tiny");

    /// <summary>The UNets of the folder.</summary>
    public static TheoryData<string> UNets { get; } = new(Networks.Where(static row => (string)row[1] == "unet").Select(static row => (string)row[0]));

    [Theory]
    [MemberData(nameof(Networks))]
    public void Dotted_OfAnyModuleOfStableDiffusion_IsItsPath(string model, string network)
    {
        var paths = ModulesOf(model, network);

        Assert.NotEmpty(paths);
        Assert.All(paths, path => Assert.Equal(path, KohyaNames.Dotted(path.Replace('.', '_'))));
        Assert.All(paths, path => Assert.True(KohyaNames.IsKnown(path) || path.StartsWith("conv_norm_out", StringComparison.Ordinal), path));
    }

    [Theory]
    [MemberData(nameof(UNets))]
    public void SgmNames_OfEveryModule_LeadBack(string model)
    {
        var paths = ModulesOf(model, "unet");
        var layers = Fixtures.Json(model, "unet", "config.json").GetProperty("layers_per_block").GetInt32();
        var withAttention = paths
            .Where(path => path.Contains("attentions", StringComparison.Ordinal))
            .Select(path => string.Join('.', path.Split('.')[..2])).ToHashSet();

        var names = paths.ToDictionary(path => path, path => SgmNames.Of(path, layers, block => withAttention.Contains($"up_blocks.{block}")));

        Assert.All(names, pair => Assert.Equal(pair.Key, SgmNames.ToDiffusers(pair.Value!, layers)));
        Assert.Equal(names.Count, names.Values.Distinct().Count());
    }

    /// <summary>The names of upstream's own conversion: what each stands for is known from the original checkpoint.</summary>
    [Theory]
    [InlineData("conv_in", "input_blocks.0.0")]
    [InlineData("down_blocks.0.resnets.1.conv1", "input_blocks.2.0.in_layers.2")]
    [InlineData("down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op")]
    [InlineData("down_blocks.1.attentions.0.proj_in", "input_blocks.4.1.proj_in")]
    [InlineData("down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_k", "input_blocks.8.1.transformer_blocks.9.attn2.to_k")]
    [InlineData("mid_block.attentions.0.proj_out", "middle_block.1.proj_out")]
    [InlineData("mid_block.resnets.1.time_emb_proj", "middle_block.2.emb_layers.1")]
    [InlineData("up_blocks.0.attentions.2.proj_in", "output_blocks.2.1.proj_in")]
    [InlineData("up_blocks.0.upsamplers.0.conv", "output_blocks.2.2.conv")]
    [InlineData("up_blocks.1.resnets.0.conv_shortcut", "output_blocks.3.0.skip_connection")]
    [InlineData("add_embedding.linear_2", "label_emb.0.2")]
    [InlineData("conv_out", "out.2")]
    public void SgmName_OfAModule_IsTheOriginalCodes(string path, string name) => Assert.Equal(name, SgmNames.Of(path, 2, static _ => true));

    /// <summary>Of SDXL the file is upstream's; of the others, which have no such files, it is one of ours.</summary>
    [Theory]
    [MemberData(nameof(UNets))]
    public void File_WithOriginalNames_FitsTheUNetWeightByWeightAndIsWrittenAgainAsItWas(string model)
    {
        using var scope = TorchSharp.torch.NewDisposeScope();
        using var folder = new Models.TemporaryFolder();
        using var weights = SafetensorsFile.Open(Path.Combine(Fixtures.Case(model, "unet"), "diffusion_pytorch_model.safetensors"));
        var modules = ModulesOf(model, "unet");
        var part = new LoraPart("unet", "lora_unet", WithContainers(modules), HasSgmNames: true);
        var path = model == "sdxl-tiny" ? Path.Combine(Fixtures.Case("unet-lora", SdxlCase), "kohya_sdxl_lora.safetensors") : folder.In("ours.safetensors");
        if (model != "sdxl-tiny")
        {
            var projections = modules
                .Where(static module => module.EndsWith("to_q", StringComparison.Ordinal) || module.Contains("samplers", StringComparison.Ordinal)).ToList();
            KohyaFile.Write(
                path,
                [(part, new LoraState(projections.SelectMany(module => Factors(module, weights.Tensors[$"{module}.weight"].Shape)).ToDictionary()))]);
        }

        using (var file = LoraFile.Read(path, [part]))
        {
            var state = file.States["unet"];
            Assert.Equal(3 * state.Ranks.Count, SafetensorsFile.LoadAll(path).Count);
            Assert.All(state.Ranks, pair =>
            {
                var shape = weights.Tensors[$"{pair.Key}.weight"].Shape;
                Assert.Equal(shape[0], state.Tensors[pair.Key + LoraState.UpPart].size(0));
                Assert.Equal(shape[1], state.Tensors[pair.Key + LoraState.DownPart].size(1));
            });
            KohyaFile.Write(folder.In("again.safetensors"), [(part, state)]);
            Assert.Equal(
                SafetensorsFile.LoadAll(path).Keys.Order(StringComparer.Ordinal),
                SafetensorsFile.LoadAll(folder.In("again.safetensors")).Keys.Order(StringComparer.Ordinal));
        }

        using var without = LoraFile.Read(path);
        Assert.Empty(without.States["unet"].Ranks.Keys.Except(modules));
    }

    private static TheoryData<string, string> NetworksOf(params string[] models)
    {
        var data = new TheoryData<string, string>();
        foreach (var model in models.Where(model => Fixtures.IsWhole || Directory.Exists(Path.Combine(Fixtures.Root, model))))
        {
            foreach (var network in new[] { "unet", "text_encoder", "text_encoder_2" }
                .Where(network => Directory.Exists(Path.Combine(Fixtures.Case(model), network))))
            {
                data.Add(model, network);
            }
        }

        return data;
    }

    private static Dictionary<string, TorchSharp.torch.Tensor> Factors(string module, IReadOnlyList<long> shape) => new()
    {
        [module + LoraState.DownPart] = TorchSharp.torch.zeros([2, .. shape.Skip(1)]),
        [module + LoraState.UpPart] = TorchSharp.torch.zeros(shape.Count == 4 ? [shape[0], 2, 1, 1] : [shape[0], 2]),
    };

    /// <summary>The paths of the modules that have a weight.</summary>
    private static List<string> ModulesOf(string model, string network)
    {
        using var file = SafetensorsFile.Open(Directory.GetFiles(Fixtures.Case(model, network), "*.safetensors").Single());
        return [.. file.Tensors.Keys.Where(static name => name.EndsWith(".weight", StringComparison.Ordinal)).Select(static name => name[..^".weight".Length])];
    }

    /// <summary>These and the modules in which they lie, as a model has them.</summary>
    private static List<string> WithContainers(IEnumerable<string> paths) =>
        [.. paths.SelectMany(static path => path.Split('.').Select((_, i) => string.Join('.', path.Split('.')[..(i + 1)]))).Distinct()];
}
