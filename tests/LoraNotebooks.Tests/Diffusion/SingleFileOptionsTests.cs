using System.Text.Json.Nodes;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>What a single file does not tell is taken from where the options say, and else from beside it.</summary>
public sealed class SingleFileOptionsTests : IDisposable
{
    private readonly DisposeScope scope = NewDisposeScope();
    private readonly TemporaryFolder folder = new();

    public void Dispose()
    {
        folder.Dispose();
        scope.Dispose();
    }

    [Fact]
    public void ConfigFolder_ElsewhereAndFlat_IsReadInPlaceOfTheFilesOwn()
    {
        using var made = OriginalFile.SaveXL(folder.In("made"));
        var path = folder.In("model.safetensors");
        File.Move(folder.In("made", "model.safetensors"), path);
        Assert.Contains(folder.In("tokenizer"), Assert.Throws<FileNotFoundException>(() => StableDiffusionPipeline.FromFile(path)).Message);
        foreach (var part in (string[])["unet", "vae", "text_encoder", "text_encoder_2"])
        {
            File.Move(folder.In("made", part, "config.json"), folder.In("made", $"{part}_config.json"));
        }

        using var loaded = StableDiffusionPipeline.FromFile(path, new() { ConfigFolder = folder.In("made") });

        Assert.Equal(made.HashWeights(), loaded.HashWeights());
        Assert.Equal((path, true, 8), (loaded.Source, loaded.Text.ForceZerosForEmptyPrompt, loaded.UNet.Config.SampleSize));
        Assert.All(new[] { (nn.Module)loaded.UNet, loaded.Vae, loaded.TextEncoder, loaded.TextEncoder2! }, static network => Assert.False(network.training));
        Assert.Equal(folder.In("model.safetensors"), PipelineOutline.Read(path, new() { ConfigFolder = folder.In("made") }).Source);

        using var half = StableDiffusionPipeline.FromFile(path, new() { ConfigFolder = folder.In("made") }, ScalarType.BFloat16);
        Assert.Equal(
            [ScalarType.BFloat16],
            new[] { (nn.Module)half.UNet, half.Vae, half.TextEncoder, half.TextEncoder2! }.SelectMany(static network => network.parameters()).Select(static weight => weight.dtype).Distinct());
    }

    [Fact]
    public void TokenizerFolder_Given_IsTakenAndTheSecondOneWhereItIsBeside()
    {
        using var made = OriginalFile.SaveXL(folder.Path);
        Directory.Move(folder.In("tokenizer"), folder.In("elsewhere"));
        var options = new SingleFileOptions { TokenizerFolder = folder.In("elsewhere") };
        Directory.Delete(folder.In("tokenizer_2"), recursive: true);
        using (var alone = StableDiffusionPipeline.FromFile(folder.In("model.safetensors"), options))
        {
            Assert.Equal(made.Text.Tokenizers.Select(static one => one.Encode("blue")), alone.Text.Tokenizers.Select(static one => one.Encode("blue")));
        }

        made.Tokenizer.Save(folder.In("tokenizer_2"));
        using var beside = StableDiffusionPipeline.FromFile(folder.In("model.safetensors"), options);
        Assert.All(beside.Text.Tokenizers, tokenizer => Assert.Equal(made.Tokenizer.Encode("blue"), tokenizer.Encode("blue")));
        Assert.Contains(
            "TokenizerFolder",
            Assert.Throws<FileNotFoundException>(() => StableDiffusionPipeline.FromFile(folder.In("model.safetensors"), options with { TokenizerFolder = folder.In("none") })).Message);
    }

    [Theory]
    [InlineData(true, PredictionType.Sample)]
    [InlineData(false, PredictionType.Sample)]
    [InlineData(false, PredictionType.VPrediction)]
    public void PredictionType_Given_GoesBeforeConfigurationAndMarks(bool hasScheduler, PredictionType prediction)
    {
        using var made = OriginalFile.SaveXL(folder.Path);
        if (!hasScheduler)
        {
            Directory.Delete(folder.In("scheduler"), recursive: true);
        }

        using var loaded = StableDiffusionPipeline.FromFile(folder.In("model.safetensors"), new() { PredictionType = prediction });
        Assert.Equal((prediction, hasScheduler), (loaded.Scheduler.PredictionType, loaded.Scheduler.RescaleBetasZeroSnr));
        Assert.Equal(hasScheduler ? "DDIMScheduler" : "EulerDiscreteScheduler", loaded.Scheduler.ClassName);
    }

    [Fact]
    public void PredictionType_OfStableDiffusion2WithoutAScheduler_MustBeGiven()
    {
        using var made = OriginalFile.SaveSd2(folder.Path);
        Directory.Delete(folder.In("scheduler"), recursive: true);
        Assert.Contains(
            "SingleFileOptions.PredictionType",
            Assert.Throws<ArgumentException>(() => StableDiffusionPipeline.FromFile(folder.In("model.safetensors"))).Message);
        using var loaded = StableDiffusionPipeline.FromFile(folder.In("model.safetensors"), new() { PredictionType = PredictionType.Epsilon });
        Assert.Equal(SchedulerConfig.StableDiffusion, loaded.Scheduler);
        Assert.False(loaded.Text.IsDual);
    }

    /// <summary>What does not fit is refused with the file's name, before the memory is filled or after it is given back.</summary>
    [Fact]
    public void FromFile_OfPartsThatDoNotFit_NamesTheFileAndKeepsNoTensor()
    {
        using var made = OriginalFile.SaveXL(folder.Path);
        ClipTokenizer.Train(["portrait"], vocabularySize: 520, modelMaxLength: 20).Save(folder.In("long"));
        var options = new SingleFileOptions { TokenizerFolder = folder.In("long") };
        Assert.Throws<InvalidDataException>(() => StableDiffusionPipeline.FromFile(folder.In("model.safetensors"), options));
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        var message = Assert.Throws<InvalidDataException>(() => StableDiffusionPipeline.FromFile(folder.In("model.safetensors"), options)).Message;

        Assert.StartsWith($"'{folder.In("model.safetensors")}' has", message);
        Assert.Contains("the tokenizer pads to 20 tokens", message);
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void Outline_OfALoraOrAPickleOrTooLargeAConfiguration_IsRefused()
    {
        SafetensorsFile.Write(folder.In("lora.safetensors"), new Dictionary<string, Tensor> { ["lora_unet_mid_block_resnets_0_conv1.lora_down.weight"] = zeros(1, 4), ["lora_unet_mid_block_resnets_0_conv1.lora_up.weight"] = zeros(4, 1) });
        Assert.Contains("is a LoRA", Assert.Throws<InvalidDataException>(() => PipelineOutline.Read(folder.In("lora.safetensors"))).Message);
        File.WriteAllBytes(folder.In("model.ckpt"), [0x80, 2]);
        Assert.Contains("run any code", Assert.Throws<InvalidDataException>(() => PipelineOutline.Read(folder.In("model.ckpt"))).Message);

        using var made = OriginalFile.SaveXL(folder.In("made"));
        var config = (JsonObject)JsonNode.Parse(File.ReadAllText(folder.In("made", "unet", "config.json")))!;
        config["block_out_channels"] = new JsonArray(4096, 8192);
        File.WriteAllText(folder.In("made", "unet", "config.json"), config.ToJsonString());
        Assert.StartsWith(
            $"'{folder.In("made", "unet", "config.json")}' describes a network of",
            Assert.Throws<InvalidDataException>(() => PipelineOutline.Read(folder.In("made", "model.safetensors"))).Message);
    }
}
