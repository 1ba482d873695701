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
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();

    public void Dispose()
    {
        _folder.Dispose();
        _scope.Dispose();
    }

    [Fact]
    public void ConfigFolder_ElsewhereAndFlat_IsReadInPlaceOfTheFilesOwn()
    {
        using var made = OriginalFile.SaveXL(_folder.In("made"));
        var path = _folder.In("model.safetensors");
        File.Move(_folder.In("made", "model.safetensors"), path);
        Assert.Contains(_folder.In("tokenizer"), Assert.Throws<FileNotFoundException>(() => StableDiffusionPipeline.FromFile(path)).Message);
        foreach (var part in (string[])["unet", "vae", "text_encoder", "text_encoder_2"])
        {
            File.Move(_folder.In("made", part, "config.json"), _folder.In("made", $"{part}_config.json"));
        }

        using var loaded = StableDiffusionPipeline.FromFile(path, new() { ConfigFolder = _folder.In("made") });

        Assert.Equal(made.HashWeights(), loaded.HashWeights());
        Assert.Equal((path, true, 8), (loaded.Source, loaded.Text.ForceZerosForEmptyPrompt, loaded.UNet.Config.SampleSize));
        Assert.All(new[] { (nn.Module)loaded.UNet, loaded.Vae, loaded.TextEncoder, loaded.TextEncoder2! }, static network => Assert.False(network.training));
        Assert.Equal(_folder.In("model.safetensors"), PipelineOutline.Read(path, new() { ConfigFolder = _folder.In("made") }).Source);

        using var half = StableDiffusionPipeline.FromFile(path, new() { ConfigFolder = _folder.In("made") }, ScalarType.BFloat16);
        Assert.Equal(
            [ScalarType.BFloat16],
            new[] { (nn.Module)half.UNet, half.Vae, half.TextEncoder, half.TextEncoder2! }.SelectMany(static network => network.parameters()).Select(static weight => weight.dtype).Distinct());
    }

    [Fact]
    public void TokenizerFolder_Given_IsTakenAndTheSecondOneWhereItIsBeside()
    {
        using var made = OriginalFile.SaveXL(_folder.Path);
        Directory.Move(_folder.In("tokenizer"), _folder.In("elsewhere"));
        var options = new SingleFileOptions { TokenizerFolder = _folder.In("elsewhere") };
        Directory.Delete(_folder.In("tokenizer_2"), recursive: true);
        using (var alone = StableDiffusionPipeline.FromFile(_folder.In("model.safetensors"), options))
        {
            Assert.Equal(made.Text.Tokenizers.Select(static one => one.Encode("blue")), alone.Text.Tokenizers.Select(static one => one.Encode("blue")));
        }

        made.Tokenizer.Save(_folder.In("tokenizer_2"));
        using var beside = StableDiffusionPipeline.FromFile(_folder.In("model.safetensors"), options);
        Assert.All(beside.Text.Tokenizers, tokenizer => Assert.Equal(made.Tokenizer.Encode("blue"), tokenizer.Encode("blue")));
        Assert.Contains(
            "TokenizerFolder",
            Assert.Throws<FileNotFoundException>(() => StableDiffusionPipeline.FromFile(_folder.In("model.safetensors"), options with { TokenizerFolder = _folder.In("none") })).Message);
    }

    [Theory]
    [InlineData(true, PredictionType.Sample)]
    [InlineData(false, PredictionType.Sample)]
    [InlineData(false, PredictionType.VPrediction)]
    public void PredictionType_Given_GoesBeforeConfigurationAndMarks(bool hasScheduler, PredictionType prediction)
    {
        using var made = OriginalFile.SaveXL(_folder.Path);
        if (!hasScheduler)
        {
            Directory.Delete(_folder.In("scheduler"), recursive: true);
        }

        using var loaded = StableDiffusionPipeline.FromFile(_folder.In("model.safetensors"), new() { PredictionType = prediction });
        Assert.Equal((prediction, hasScheduler), (loaded.Scheduler.PredictionType, loaded.Scheduler.RescaleBetasZeroSnr));
        Assert.Equal(hasScheduler ? "DDIMScheduler" : "EulerDiscreteScheduler", loaded.Scheduler.ClassName);
    }

    [Fact]
    public void PredictionType_OfStableDiffusion2WithoutAScheduler_MustBeGiven()
    {
        using var made = OriginalFile.SaveSd2(_folder.Path);
        Directory.Delete(_folder.In("scheduler"), recursive: true);
        Assert.Contains(
            "SingleFileOptions.PredictionType",
            Assert.Throws<ArgumentException>(() => StableDiffusionPipeline.FromFile(_folder.In("model.safetensors"))).Message);
        using var loaded = StableDiffusionPipeline.FromFile(_folder.In("model.safetensors"), new() { PredictionType = PredictionType.Epsilon });
        Assert.Equal(SchedulerConfig.StableDiffusion, loaded.Scheduler);
        Assert.False(loaded.Text.IsDual);
    }

    /// <summary>What does not fit is refused with the file's name, before the memory is filled or after it is given back.</summary>
    [Fact]
    public void FromFile_OfPartsThatDoNotFit_NamesTheFileAndKeepsNoTensor()
    {
        using var made = OriginalFile.SaveXL(_folder.Path);
        ClipTokenizer.Train(["portrait"], vocabularySize: 520, modelMaxLength: 20).Save(_folder.In("long"));
        var options = new SingleFileOptions { TokenizerFolder = _folder.In("long") };
        Assert.Throws<InvalidDataException>(() => StableDiffusionPipeline.FromFile(_folder.In("model.safetensors"), options));
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        var message = Assert.Throws<InvalidDataException>(() => StableDiffusionPipeline.FromFile(_folder.In("model.safetensors"), options)).Message;

        Assert.StartsWith($"'{_folder.In("model.safetensors")}' has", message);
        Assert.Contains("the tokenizer pads to 20 tokens", message);
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void Outline_OfALoraOrAPickleOrTooLargeAConfiguration_IsRefused()
    {
        SafetensorsFile.Write(_folder.In("lora.safetensors"), new Dictionary<string, Tensor> { ["lora_unet_mid_block_resnets_0_conv1.lora_down.weight"] = zeros(1, 4), ["lora_unet_mid_block_resnets_0_conv1.lora_up.weight"] = zeros(4, 1) });
        Assert.Contains("is a LoRA", Assert.Throws<InvalidDataException>(() => PipelineOutline.Read(_folder.In("lora.safetensors"))).Message);
        File.WriteAllBytes(_folder.In("model.ckpt"), [0x80, 2]);
        Assert.Contains("run any code", Assert.Throws<InvalidDataException>(() => PipelineOutline.Read(_folder.In("model.ckpt"))).Message);

        using var made = OriginalFile.SaveXL(_folder.In("made"));
        var config = (JsonObject)JsonNode.Parse(File.ReadAllText(_folder.In("made", "unet", "config.json")))!;
        config["block_out_channels"] = new JsonArray(4096, 8192);
        File.WriteAllText(_folder.In("made", "unet", "config.json"), config.ToJsonString());
        Assert.StartsWith(
            $"'{_folder.In("made", "unet", "config.json")}' describes a network of",
            Assert.Throws<InvalidDataException>(() => PipelineOutline.Read(_folder.In("made", "model.safetensors"))).Message);
    }
}
