using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>Original checkpoints of the second and the XL family, under names that are written down here once more, by hand.</summary>
public sealed class SingleFileTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void FromFile_XLNames_GivesTheSameConditioningAndPrediction(bool isInferred)
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var pipeline = XL(folder, isInferred);
        if (isInferred)
        {
            // Only the tokenizers stay beside the file: everything else is read off its shapes.
            Array.ForEach(["unet", "vae", "text_encoder", "text_encoder_2", "tokenizer_2"], part => Directory.Delete(folder.In(part), recursive: true));
        }

        using var loaded = StableDiffusionPipeline.FromFile(folder.In("model.safetensors"));
        var (expected, actual) = (pipeline.EncodePrompts(["blue shirt"], sizes: SizeConditions.Whole(16, 24)), loaded.EncodePrompts(["blue shirt"], sizes: SizeConditions.Whole(16, 24)));
        Assert.Equal(0, Fixtures.MaxDifference(expected.HiddenStates, actual.HiddenStates));
        Assert.Equal(0, Fixtures.MaxDifference(expected.TextEmbeds!, actual.TextEmbeds!));
        var x = randn(1, 3, 8, 8, generator: new Generator(4));
        Assert.Equal(0, Fixtures.MaxDifference(pipeline.UNet.call(x, ones(1), expected), loaded.UNet.call(x, ones(1), actual)));
        Assert.Equal(0, Fixtures.MaxDifference(pipeline.Decode(x), loaded.Decode(x)));
    }

    [Fact]
    public void SavedLora_OfAModelInOneFile_NotesItsNameAndHashes()
    {
        using var folder = new TemporaryFolder();
        using var made = XL(folder, false);
        using var loaded = StableDiffusionPipeline.FromFile(folder.In("model.safetensors"));
        using var lora = StableDiffusionLora.Create(loaded, "mine", new() { Rank = 2, TargetModules = ["to_q"] }, null, seed: 1);

        lora.SaveKohya(folder.In("mine.safetensors"));

        using var file = SafetensorsFile.Open(folder.In("mine.safetensors"));
        var (model, legacy) = KohyaHashes.OfCheckpoint(folder.In("model.safetensors"));
        Assert.Equal(("model.safetensors", model, legacy), (file.Metadata["ss_sd_model_name"], file.Metadata["ss_new_sd_model_hash"], file.Metadata["ss_sd_model_hash"]));
        Assert.Equal(("stable-diffusion-xl-v1-base/lora", "sdxl_base_v1-0"), (file.Metadata["modelspec.architecture"], file.Metadata["ss_base_model_version"]));
        Assert.All(file.Tensors.Keys, static key => Assert.Matches("^lora_unet_(input_blocks|middle_block|output_blocks)_", key));
    }

    [Fact]
    public void SizeConditions_ToTensor_PutsHeightsBeforeWidths()
    {
        using var values = new SizeConditions(OriginalWidth: 1, OriginalHeight: 2, CropLeft: 3, CropTop: 4, TargetWidth: 5, TargetHeight: 6).ToTensor();
        Assert.Equal([2, 1, 4, 3, 6, 5], values.data<float>().ToArray());
    }

    [Fact]
    public void FromFile_Scheduler_IsTheFoldersOrWhatTheFileIsMarkedWith()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var pipeline = XL(folder);
        using (var given = StableDiffusionPipeline.FromFile(folder.In("model.safetensors")))
        {
            Assert.Equal((PredictionType.VPrediction, true), (given.Scheduler.PredictionType, given.Scheduler.RescaleBetasZeroSnr));
        }

        Directory.Delete(folder.In("scheduler"), recursive: true);
        using (var plain = StableDiffusionPipeline.FromFile(folder.In("model.safetensors")))
        {
            Assert.Equal((PredictionType.Epsilon, false, "EulerDiscreteScheduler"), (plain.Scheduler.PredictionType, plain.Scheduler.RescaleBetasZeroSnr, plain.Scheduler.ClassName));
        }

        var tensors = SafetensorsFile.LoadAll(folder.In("model.safetensors"));
        (tensors["v_pred"], tensors["ztsnr"]) = (zeros(0), zeros(0));
        SafetensorsFile.Write(folder.In("model.safetensors"), tensors);
        using var marked = StableDiffusionPipeline.FromFile(folder.In("model.safetensors"));
        Assert.Equal((PredictionType.VPrediction, true, TimestepSpacing.Trailing), (marked.Scheduler.PredictionType, marked.Scheduler.RescaleBetasZeroSnr, marked.Scheduler.TimestepSpacing));
    }

    [Fact]
    public void FromFile_MissingUnknownAndMisshapenTensors_AreAllReportedAtOnce()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var pipeline = XL(folder);
        var tensors = SafetensorsFile.LoadAll(folder.In("model.safetensors"));
        tensors.Remove("model.diffusion_model.time_embed.0.bias");
        tensors.Remove("conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_bias");
        tensors["first_stage_model.decoder.conv_out.bias"] = zeros(7);
        tensors["control_model.zero_convs.0.weight"] = zeros(2);
        tensors["model_ema.decay"] = zeros(1);
        SafetensorsFile.Write(folder.In("model.safetensors"), tensors);
        var message = Assert.Throws<InvalidDataException>(() => StableDiffusionPipeline.FromFile(folder.In("model.safetensors"))).Message;
        Assert.Contains("6 faults", message, StringComparison.Ordinal); // the fused bias is missing three times
        Assert.Contains("missing: model.diffusion_model.time_embed.0.bias", message, StringComparison.Ordinal);
        Assert.Contains("missing: conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_bias", message, StringComparison.Ordinal);
        Assert.Contains("wrong shape: first_stage_model.decoder.conv_out.bias is [7]", message, StringComparison.Ordinal);
        Assert.Contains("unknown: control_model.zero_convs.0.weight [2]", message, StringComparison.Ordinal);
        Assert.DoesNotContain("model_ema", message, StringComparison.Ordinal);
    }

    [Fact]
    public void FromFile_PickleOrNoTokenizerOrNoText_SaysWhyAndWhatToDo()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        File.WriteAllBytes(folder.In("model.ckpt"), [0x80, 2]);
        var pickled = Assert.Throws<InvalidDataException>(() => StableDiffusionPipeline.Load(folder.In("model.ckpt"))).Message;
        Assert.Contains("run any code", pickled, StringComparison.Ordinal);
        Assert.Contains("safetensors.torch.save_file", pickled, StringComparison.Ordinal);

        SafetensorsFile.Write(folder.In("unet.safetensors"), new Dictionary<string, Tensor> { ["down_blocks.0.weight"] = zeros(1) });
        Assert.Contains("no text encoder", Assert.Throws<InvalidDataException>(() => StableDiffusionPipeline.Load(folder.In("unet.safetensors"))).Message, StringComparison.Ordinal);

        using var pipeline = XL(folder);
        Directory.Delete(folder.In("tokenizer"), recursive: true);
        Assert.Contains("TokenizerFolder", Assert.Throws<FileNotFoundException>(() => StableDiffusionPipeline.Load(folder.In("model.safetensors"))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Outline_OriginalFile_CountsWhatLoadingMakes(bool isInferred)
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var pipeline = XL(folder, isInferred);
        if (isInferred)
        {
            Array.ForEach(["unet", "vae", "text_encoder", "text_encoder_2"], part => Directory.Delete(folder.In(part), recursive: true));
        }

        Directory.Delete(folder.In("tokenizer"), recursive: true); // sizes need no vocabulary

        var plan = MemoryPlan.For(PipelineOutline.Read(folder.In("model.safetensors")), new TrainingConfig());

        nn.Module[] networks = [pipeline.UNet, pipeline.Vae, .. pipeline.Text.Encoders];
        Assert.True(plan.Model.IsXL);
        Assert.Equal(networks.Select(static network => network.state_dict().Values.Sum(static weight => weight.numel())), plan.Components.Select(static component => component.Parameters));
        Assert.Equal(["unet", "vae", "text_encoder", "text_encoder_2"], plan.Components.Select(static component => component.Name));
    }

    /// <summary>A tiny SDXL, and its original file beside its tokenizer and the configurations that shapes do not tell.</summary>
    private static StableDiffusionPipeline XL(TemporaryFolder folder, bool isUsual = false)
    {
        var pipeline = TinyPipeline.CreateXL(isUsual);
        pipeline.Save(folder.Path);
        var original = new Dictionary<string, Tensor>();
        Add("unet", "diffusion_pytorch_model", "model.diffusion_model.", UNetName);
        Add("vae", "diffusion_pytorch_model", "first_stage_model.", VaeName);
        Add("text_encoder", "model", "conditioner.embedders.0.transformer.", static name => name);
        Add("text_encoder_2", "model", "conditioner.embedders.1.model.", OpenClipName);
        Fuse(original);
        SafetensorsFile.Write(folder.In("model.safetensors"), original);
        return pipeline;

        void Add(string part, string file, string prefix, Func<string, string> rename)
        {
            foreach (var (name, tensor) in SafetensorsFile.LoadAll(folder.In(part, file + ".safetensors")))
            {
                var isPoint = part == "vae" && name.Contains(".attentions.", StringComparison.Ordinal) && tensor.dim() == 2;
                original[prefix + rename(name)] = isPoint ? tensor.unsqueeze(-1).unsqueeze(-1) : tensor;
            }
        }
    }

    private static string UNetName(string name) => Replace(
        name,
        ("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"), ("add_embedding.linear_2", "label_emb.0.2"),
        ("conv_in.", "input_blocks.0.0."), ("conv_norm_out.", "out.0."), ("conv_out.", "out.2."),
        ("down_blocks.0.resnets.0", "input_blocks.1.0"), ("down_blocks.0.downsamplers.0.conv", "input_blocks.2.0.op"),
        ("down_blocks.1.resnets.0", "input_blocks.3.0"), ("down_blocks.1.attentions.0", "input_blocks.3.1"),
        ("mid_block.resnets.0", "middle_block.0"), ("mid_block.attentions.0", "middle_block.1"), ("mid_block.resnets.1", "middle_block.2"),
        ("up_blocks.0.resnets.0", "output_blocks.0.0"), ("up_blocks.0.attentions.0", "output_blocks.0.1"),
        ("up_blocks.0.resnets.1", "output_blocks.1.0"), ("up_blocks.0.attentions.1", "output_blocks.1.1"), ("up_blocks.0.upsamplers.0", "output_blocks.1.2"),
        ("up_blocks.1.resnets.0", "output_blocks.2.0"), ("up_blocks.1.resnets.1", "output_blocks.3.0"),
        ("conv_shortcut", "skip_connection"), ("time_emb_proj", "emb_layers.1"),
        ("0.norm1", "0.in_layers.0"), ("0.conv1", "0.in_layers.2"), ("0.norm2", "0.out_layers.0"), ("0.conv2", "0.out_layers.3"),
        ("middle_block.2.norm1", "middle_block.2.in_layers.0"), ("middle_block.2.conv1", "middle_block.2.in_layers.2"),
        ("middle_block.2.norm2", "middle_block.2.out_layers.0"), ("middle_block.2.conv2", "middle_block.2.out_layers.3"),
        ("transformer_blocks.0.in_layers.0", "transformer_blocks.0.norm1"), ("transformer_blocks.0.out_layers.0", "transformer_blocks.0.norm2"));

    private static string VaeName(string name) => Replace(
        name,
        ("conv_norm_out", "norm_out"), ("conv_shortcut", "nin_shortcut"),
        ("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"), ("mid_block.attentions.0", "mid.attn_1"),
        ("attn_1.group_norm", "attn_1.norm"), ("attn_1.to_q", "attn_1.q"), ("attn_1.to_k", "attn_1.k"), ("attn_1.to_v", "attn_1.v"), ("attn_1.to_out.0", "attn_1.proj_out"),
        ("down_blocks.0.", "down.0."), ("down_blocks.1.", "down.1."), ("up_blocks.0.", "up.1."), ("up_blocks.1.", "up.0."),
        ("resnets", "block"), ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample"));

    private static string OpenClipName(string name) => Replace(
        name,
        ("text_model.encoder.layers", "transformer.resblocks"), ("text_model.final_layer_norm", "ln_final"), ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"),
        ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("self_attn", "attn"),
        ("text_model.embeddings.token_embedding", "token_embedding"), ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
        ("text_projection.weight", "text_projection"));

    /// <summary>OpenCLIP keeps query, key and value in one tensor, and the projection with rows for columns.</summary>
    private static void Fuse(Dictionary<string, Tensor> tensors)
    {
        const string projection = "conditioner.embedders.1.model.text_projection";
        tensors[projection] = tensors[projection].t().contiguous();
        foreach (var query in tensors.Keys.Where(key => key.Contains("resblocks", StringComparison.Ordinal) && key.Contains(".q_proj.", StringComparison.Ordinal)).ToList())
        {
            string[] keys = [query, query.Replace(".q_proj.", ".k_proj.", StringComparison.Ordinal), query.Replace(".q_proj.", ".v_proj.", StringComparison.Ordinal)];
            tensors[query.Replace(".q_proj.", ".in_proj_", StringComparison.Ordinal)] = cat([.. keys.Select(key => tensors[key])]);
            Array.ForEach(keys, key => tensors.Remove(key));
        }
    }

    private static string Replace(string name, params (string Old, string New)[] pairs) =>
        pairs.Aggregate(name, static (text, pair) => text.Replace(pair.Old, pair.New, StringComparison.Ordinal));
}
