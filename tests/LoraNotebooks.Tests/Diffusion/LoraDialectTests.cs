using LoraNotebooks.Adapters;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>One LoRA under the names that public tools write: each file is the same LoRA, weight by weight, on a pipeline and without one.</summary>
public sealed class LoraDialectTests : IDisposable
{
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();

    public void Dispose()
    {
        _folder.Dispose();
        _scope.Dispose();
    }

    /// <summary>How a tool names the UNet's modules, the text encoder's, A and B. {p} is the path, {u} with underscores, {s} in the original code's names, {v} those with underscores.</summary>
    public static TheoryData<string, string, string, string> Dialects => new()
    {
        { "unet.{p}", "text_encoder.{p}", ".lora_A.default.weight", ".lora_B.default.weight" },
        { "unet.{p}", "text_encoder.{p}", ".lora_A", ".lora_B" },
        { "unet.{p}", "text_encoder.{p}", ".lora.down.weight", ".lora.up.weight" },
        { "unet.{p}", "text_encoder.{p}", ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight" },
        { "unet.{p}", "text_encoder.{p}", ".lora_down.weight", ".lora_up.weight" },
        { "{p}", "{p}", ".lora_A.weight", ".lora_B.weight" },
        { "base_model.model.{p}", "base_model.model.{p}", ".lora_A.my_style.weight", ".lora_B.my_style.weight" },
        { "lora_unet.{p}", "lora_te.{p}", ".lora_down.weight", ".lora_up.weight" },
        { "lora_unet_{u}", "lora_te_{u}", ".lora_A.weight", ".lora_B.weight" },
        { "lora_unet_{v}", "lora_te1_{u}", ".lora_down.weight", ".lora_up.weight" },
        { "lycoris_{u}", "lycoris_{u}", ".lora_down.weight", ".lora_up.weight" },
        { "unet.{s}", "clip_l.{p}", ".lora_down.weight", ".lora_up.weight" },
        { "diffusion_model.{s}", "text_encoders.clip_l.transformer.{p}", ".lora_A.weight", ".lora_B.weight" },
        { "model.diffusion_model.{s}", "cond_stage_model.transformer.{p}", ".lora_down.weight", ".lora_up.weight" },
    };

    [Theory]
    [MemberData(nameof(Dialects))]
    public void Load_OfAnyDialect_IsTheSameLora(string unet, string text, string down, string up)
    {
        using var pipeline = TinyPipeline.Create();
        AssertSame(pipeline, (network, path) => Fill(network == "unet" ? unet : text, pipeline, network, path), down, up, withoutPipeline: !unet.Contains("{s}", StringComparison.Ordinal) && !unet.Contains("{v}", StringComparison.Ordinal));
    }

    /// <summary>Text encoders by the names of diffusers' first files, of OpenCLIP, and of a transformers without the outermost module.</summary>
    [Theory]
    [InlineData("text_encoder.", "text_model.encoder.", "encoder.", ".lora_A.weight", ".lora_B.weight")]
    [InlineData("lora_te_", "text_model_encoder_", "encoder_", ".lora_down.weight", ".lora_up.weight")]
    [InlineData("text_encoder.", "self_attn.q_proj", "self_attn.to_q", "_lora.down.weight", "_lora.up.weight")]
    [InlineData("cond_stage_model.model.", "text_model.encoder.layers.", "transformer.resblocks.", ".lora_A.weight", ".lora_B.weight")]
    [InlineData("lora_te_text_model_", "text_model_encoder_layers_", "transformer_resblocks_", ".lora_down.weight", ".lora_up.weight")]
    public void Load_OfTextEncoderNamesOfEveryLibrary_IsTheSameLora(string prefix, string usual, string written, string down, string up)
    {
        using var pipeline = TinyPipeline.Create();
        var open = written.Contains("resblocks", StringComparison.Ordinal);
        AssertSame(
            pipeline,
            (network, path) =>
            {
                var name = (prefix.EndsWith('_') ? path.Replace('.', '_') : path).Replace(usual, written, StringComparison.Ordinal);
                name = open ? name.Replace("self_attn", "attn", StringComparison.Ordinal).Replace("fc1", "c_fc", StringComparison.Ordinal).Replace("fc2", "c_proj", StringComparison.Ordinal) : name;
                return network == "unet" ? $"unet.{path}" : prefix + name;
            },
            down,
            up,
            text: open ? ["fc1", "fc2", "out_proj"] : written.EndsWith("to_q", StringComparison.Ordinal) ? ["q_proj"] : ["q_proj", "fc1"],
            withoutPipeline: false,
            unetDown: ".lora_A.weight",
            unetUp: ".lora_B.weight");
    }

    [Theory]
    [InlineData("diffusion_model.{s}", "text_encoders.clip_l.transformer.{p}", "text_encoders.clip_g.transformer.{p}")]
    [InlineData("unet.{s}", "clip_l.{p}", "clip_g.{p}")]
    [InlineData("lora_unet_{u}", "lora_te_{u}", "lora_te2_{u}")]
    [InlineData("lora_unet.{p}", "lora_te1.{p}", "lora_te2.{p}")]
    public void Load_OfAnyDialectOnSdxl_IsTheSameLora(string unet, string text, string text2)
    {
        using var pipeline = TinyPipeline.CreateXL();
        AssertSame(pipeline, (network, path) => Fill(network switch { "unet" => unet, "text_encoder" => text, _ => text2 }, pipeline, network, path), ".lora_down.weight", ".lora_up.weight", withoutPipeline: false);
    }

    /// <summary>The other methods' factors, under LyCORIS' wrapper's names and with dots.</summary>
    [Theory]
    [InlineData("Loha", "lycoris_", "")]
    [InlineData("Lokr", "lycoris_", "")]
    [InlineData("Loha", "lora_unet_", ".default")]
    [InlineData("Lora", "lycoris_", "")]
    public void Load_OfOtherMethodsInAnotherDialect_IsTheSameAdapter(string name, string prefix, string adapter)
    {
        var method = AdapterMethod.Named(name);
        using var pipeline = TinyPipeline.Create();
        var usual = _folder.In("usual.safetensors");
        using (var lora = StableDiffusionLora.Create(pipeline, "made", new LoraConfig { Method = method, Rank = 2, Alpha = method == AdapterMethod.Lokr ? 2 : 1, TargetModules = ["to_q", "conv1"], UseDora = method == AdapterMethod.Lora }, null, seed: 4))
        {
            using var noGrad = no_grad();
            foreach (var parameter in lora.UNetParameters)
            {
                parameter.add_(0.1);
            }

            lora.SaveKohya(usual);
        }

        SafetensorsFile.Write(_folder.In("dialect.safetensors"), SafetensorsFile.LoadAll(usual).ToDictionary(
            pair => pair.Key.Replace("lora_unet_", prefix, StringComparison.Ordinal) + (pair.Key.Contains("hada", StringComparison.Ordinal) ? adapter : ""), static pair => pair.Value));
        using var expected = LoraFile.Read(usual);
        using var loaded = StableDiffusionLora.Load(pipeline, _folder.In("dialect.safetensors"));
        using var state = loaded.UNet!.ToState(loaded.Name);

        Assert.Empty(loaded.Notes);
        AssertSame(expected.States["unet"], state);
        Assert.All(expected.States["unet"].Alphas, alpha => Assert.Equal(alpha.Value, state.Alphas[alpha.Key]));
    }

    /// <summary>A file that only its metadata or widths tell to be of SDXL is written again under SDXL's names.</summary>
    [Fact]
    public void Convert_OfAFileThatIsOfSdxl_KeepsSdxlsNames()
    {
        SafetensorsFile.Write(_folder.In("xl.safetensors"), new Dictionary<string, Tensor>
        {
            ["lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight"] = ones(1, 2048),
            ["lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_up.weight"] = ones(640, 1),
        });

        LoraConversion.Convert(_folder.In("xl.safetensors"), _folder.In("out.safetensors"), new LoraWriting());

        Assert.Contains("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_up.weight", SafetensorsFile.LoadAll(_folder.In("out.safetensors")).Keys);
    }

    [Fact]
    public void Read_PeftsWeightsFileBesideItsConfiguration_HasItsAlpha()
    {
        using var pipeline = TinyPipeline.Create();
        using (var lora = Trained(pipeline, ["q_proj"], alpha: 1))
        {
            lora.SavePeft(_folder.In("peft"));
        }

        using var whole = LoraFile.Read(_folder.In("peft", "unet"));
        using var file = LoraFile.Read(_folder.In("peft", "unet", "adapter_model.safetensors"));
        File.Move(_folder.In("peft", "unet", "adapter_model.safetensors"), _folder.In("alone.safetensors"));
        using var alone = LoraFile.Read(_folder.In("alone.safetensors"));

        Assert.Equal(1, (double)file.States["unet"].Config!["lora_alpha"]!);
        Assert.Empty(file.Notes);
        Assert.Contains("α is not told", Assert.Single(alone.Notes).Reason);
        AssertSame(whole.States["unet"], alone.States["unet"]);
    }

    [Fact]
    public void PeftFolder_WithAdapterNamesInItsKeys_IsReadLikeOneWithout()
    {
        using var pipeline = TinyPipeline.Create();
        using (var lora = Trained(pipeline, ["q_proj"]))
        {
            lora.SavePeft(_folder.In("peft"));
        }

        var (weights, text) = (_folder.In("peft", "unet", "adapter_model.safetensors"), _folder.In("peft", "text_encoder", "adapter_model.safetensors"));
        using var expected = LoraFile.Read(_folder.In("peft"));
        var named = SafetensorsFile.LoadAll(weights).ToDictionary(static pair => pair.Key.Replace(".weight", ".default.weight", StringComparison.Ordinal)["base_model.model.".Length..], static pair => pair.Value);
        SafetensorsFile.Write(weights, named);
        SafetensorsFile.Write(text, SafetensorsFile.LoadAll(text).ToDictionary(static pair => pair.Key.Replace("text_model.", "", StringComparison.Ordinal), static pair => pair.Value));

        using var loaded = StableDiffusionLora.Load(pipeline, _folder.In("peft"));
        using var state = loaded.UNet!.ToState(loaded.Name);
        using var textState = loaded.TextEncoder!.ToState(loaded.Name);

        AssertSame(expected.States["unet"], state);
        AssertSame(expected.States["text_encoder"], textState);
    }

    [Fact]
    public void Load_OfTwoAdaptersInOneFile_IsRefused()
    {
        using var pipeline = TinyPipeline.Create();
        SafetensorsFile.Write(_folder.In("two.safetensors"), new Dictionary<string, Tensor>
        {
            ["unet.mid_block.attentions.0.proj_in.lora_A.first.weight"] = ones(2, 12),
            ["unet.mid_block.attentions.0.proj_in.lora_B.first.weight"] = ones(12, 2),
            ["unet.mid_block.attentions.0.proj_in.lora_A.second.weight"] = ones(2, 12),
            ["unet.mid_block.attentions.0.proj_in.lora_B.second.weight"] = ones(12, 2),
        });

        Assert.Contains("maybe of two adapters", Assert.Throws<InvalidDataException>(() => StableDiffusionLora.Load(pipeline, _folder.In("two.safetensors"))).Message);
    }

    private static string Fill(string pattern, StableDiffusionPipeline pipeline, string network, string path)
    {
        var original = pattern.Contains("{s}", StringComparison.Ordinal) || pattern.Contains("{v}", StringComparison.Ordinal)
            ? SgmNames.Of(path, pipeline.UNet.Config.LayersPerBlock[0], block => pipeline.UNet.Config.UpBlockTypes[block].Contains("CrossAttn", StringComparison.Ordinal))!
            : path;
        Assert.True(network != "unet" || original is not null, path);
        return pattern.Replace("{p}", path, StringComparison.Ordinal).Replace("{u}", path.Replace('.', '_'), StringComparison.Ordinal)
            .Replace("{s}", original, StringComparison.Ordinal).Replace("{v}", original?.Replace('.', '_'), StringComparison.Ordinal);
    }

    private static StableDiffusionLora Trained(StableDiffusionPipeline pipeline, string[] text, double alpha = 3)
    {
        var lora = StableDiffusionLora.Create(
            pipeline, "mine", new LoraConfig { Rank = 3, Alpha = alpha, TargetModules = ["to_q", "to_out.0", "conv1", "conv_shortcut"] }, new LoraConfig { Rank = 3, Alpha = alpha, TargetModules = ModuleSelection.Names(text) }, seed: 3);
        using var generator = new Generator(5);
        using var noGrad = no_grad();
        foreach (var parameter in lora.UNetParameters.Concat(lora.TextEncoderParameters))
        {
            parameter.normal_(0, 0.3, generator);
        }

        return lora;
    }

    private void AssertSame(StableDiffusionPipeline pipeline, Func<string, string, string> name, string down, string up, string[]? text = null, bool withoutPipeline = true, string? unetDown = null, string? unetUp = null)
    {
        using (var lora = Trained(pipeline, text ?? ["q_proj", "fc1"]))
        {
            lora.SaveDiffusers(_folder.In("usual"));
        }

        var usual = _folder.In("usual", LoraFile.DiffusersName);
        var dialect = _folder.In("dialect.safetensors");
        SafetensorsFile.Write(dialect, SafetensorsFile.LoadAll(usual).ToDictionary(
            pair =>
            {
                var network = pair.Key[..pair.Key.IndexOf('.', StringComparison.Ordinal)];
                var isDown = pair.Key.EndsWith(LoraState.DownPart, StringComparison.Ordinal);
                var path = pair.Key[(network.Length + 1)..^LoraState.DownPart.Length];
                var isOther = network == "unet" && unetDown is not null;
                return name(network, path) + (isDown ? isOther ? unetDown : down : isOther ? unetUp : up);
            },
            static pair => pair.Value));
        using var expected = LoraFile.Read(usual);
        using (var loaded = StableDiffusionLora.Load(pipeline, dialect))
        {
            Assert.All(loaded.Notes, static note => Assert.Equal(LoraNoteKind.Assumed, note.Kind));
            Assert.Equal(pipeline.Text.IsDual, loaded.TextEncoder2 is not null);
            foreach (var (network, model) in new[] { ("unet", loaded.UNet), ("text_encoder", loaded.TextEncoder), ("text_encoder_2", loaded.TextEncoder2) }.Where(pair => expected.States.ContainsKey(pair.Item1)))
            {
                using var state = model!.ToState(loaded.Name);
                AssertSame(expected.States[network], state);
                Assert.All(state.Alphas.Values, static alpha => Assert.Equal(3, alpha));
            }
        }

        if (withoutPipeline)
        {
            using var read = LoraFile.Read(dialect);
            Assert.Equal(expected.States.Keys.Order(StringComparer.Ordinal), read.States.Keys.Order(StringComparer.Ordinal));
            Assert.All(expected.States, pair => AssertSame(pair.Value, read.States[pair.Key]));
        }
    }

    private static void AssertSame(LoraState expected, LoraState actual)
    {
        Assert.NotEmpty(expected.Tensors);
        Assert.Equal(expected.Tensors.Keys.Order(StringComparer.Ordinal), actual.Tensors.Keys.Order(StringComparer.Ordinal));
        Assert.All(expected.Tensors, pair => Assert.Equal(0, Fixtures.MaxDifference(pair.Value, actual.Tensors[pair.Key])));
    }
}
