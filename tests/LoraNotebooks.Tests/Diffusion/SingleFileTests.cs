using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Tests.Models;
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
        using var pipeline = OriginalFile.SaveXL(folder.Path, isInferred);
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
    public void FromFile_Sd2Names_GivesTheSameConditioningAndPrediction()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var pipeline = OriginalFile.SaveSd2(folder.Path);
        using var loaded = StableDiffusionPipeline.FromFile(folder.In("model.safetensors"));

        var (expected, actual) = (pipeline.EncodePrompts(["blue shirt"]), loaded.EncodePrompts(["blue shirt"]));
        Assert.Equal(0, Fixtures.MaxDifference(expected.HiddenStates, actual.HiddenStates));
        var x = randn(1, 3, 8, 8, generator: new Generator(4));
        Assert.Equal(0, Fixtures.MaxDifference(pipeline.UNet.call(x, ones(1), expected), loaded.UNet.call(x, ones(1), actual)));
        Assert.Equal(0, Fixtures.MaxDifference(pipeline.Decode(x), loaded.Decode(x)));
    }

    [Fact]
    public void SavedLora_OfAModelInOneFile_NotesItsNameAndHashes()
    {
        using var folder = new TemporaryFolder();
        using var made = OriginalFile.SaveXL(folder.Path, false);
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
        using var pipeline = OriginalFile.SaveXL(folder.Path);
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
        using var pipeline = OriginalFile.SaveXL(folder.Path);
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

    /// <summary>What belongs to no network of the model is left out and told; of a network nothing is.</summary>
    [Fact]
    public void FromFile_TensorsOfNoNetwork_AreLeftOutAndTold()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var pipeline = OriginalFile.SaveXL(folder.Path);
        var tensors = SafetensorsFile.LoadAll(folder.In("model.safetensors"));
        tensors["control_model.zero_convs.0.weight"] = zeros(2);
        SafetensorsFile.Write(folder.In("model.safetensors"), tensors);
        var before = Console.Error;
        using var told = new StringWriter();
        Console.SetError(told);
        try
        {
            StableDiffusionPipeline.FromFile(folder.In("model.safetensors")).Dispose();
        }
        finally
        {
            Console.SetError(before);
        }

        Assert.Contains("left out 1 tensor that belong to no network of Stable Diffusion: control_model.zero_convs.0.weight", told.ToString(), StringComparison.Ordinal);
        tensors["model.diffusion_model.extra.weight"] = zeros(2);
        SafetensorsFile.Write(folder.In("model.safetensors"), tensors);
        Assert.Contains("unknown: model.diffusion_model.extra.weight", Assert.Throws<InvalidDataException>(() => StableDiffusionPipeline.FromFile(folder.In("model.safetensors"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FromFile_OfALora_SaysHowItIsLoaded()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        SafetensorsFile.Write(folder.In("lora.safetensors"), new Dictionary<string, Tensor> { ["lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"] = zeros(1, 4), ["lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"] = zeros(4, 1) });

        var message = Assert.Throws<InvalidDataException>(() => StableDiffusionPipeline.Load(folder.In("lora.safetensors"))).Message;

        Assert.Contains("is a LoRA for Stable Diffusion XL (SDXL)", message, StringComparison.Ordinal);
        Assert.Contains("StableDiffusionLora.Load", message, StringComparison.Ordinal);
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

        using var pipeline = OriginalFile.SaveXL(folder.Path);
        Directory.Delete(folder.In("tokenizer"), recursive: true);
        Assert.Contains("TokenizerFolder", Assert.Throws<FileNotFoundException>(() => StableDiffusionPipeline.Load(folder.In("model.safetensors"))).Message, StringComparison.Ordinal);
    }
}
