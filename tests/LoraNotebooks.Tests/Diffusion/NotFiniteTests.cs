using LoraNotebooks.Adapters;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>Numbers that are not finite are noticed wherever LoRAs, models and pictures come in or go out.</summary>
public sealed class NotFiniteTests : IDisposable
{
    private const string Module = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();
    private readonly TextWriter _error = Console.Error;
    private readonly StringWriter _told = new();

    public NotFiniteTests() => Console.SetError(_told);

    public void Dispose()
    {
        Console.SetError(_error);
        _pipeline.Dispose();
        _folder.Dispose();
        _scope.Dispose();
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.NegativeInfinity)]
    public void Load_OfALoraWithSuchNumbers_NamesTheLayersAndGeneratingSaysWhich(float number)
    {
        var path = Lora(number);

        using (var lora = StableDiffusionLora.Load(_pipeline, path))
        {
            var note = Assert.Single(lora.Notes);
            Assert.Equal((LoraNoteKind.NotFinite, $"unet: {Module}"), (note.Kind, Assert.Single(note.Names)));
            Assert.Contains(Module, _told.ToString());
            var message = Assert.Throws<NotFiniteException>(() => _pipeline.Generate(new() { Prompt = "x", Steps = 3, Guidance = 2 })).Message;
            Assert.Contains("step 1 of 3", message);
            Assert.Contains("smaller weights", message);
            lora.Weight = 0;
            Assert.Single(_pipeline.Generate(new() { Prompt = "x", Steps = 2 }));
        }

        Assert.Contains($"not finite: unet: {Module}", Assert.Throws<InvalidDataException>(() => StableDiffusionLora.Load(_pipeline, path, strict: true)).Message);
    }

    [Fact]
    public void Load_OfAnAlphaThatIsNotFinite_IsToldLikeAWeight()
    {
        var tensors = SafetensorsFile.LoadAll(Lora(1));
        tensors[$"lora_unet_{Module.Replace('.', '_')}.alpha"] = tensor(float.NaN);
        SafetensorsFile.Write(_folder.In("alpha.safetensors"), tensors);

        using var file = LoraFile.Read(_folder.In("alpha.safetensors"));

        Assert.Equal($"unet: {Module}", Assert.Single(Assert.Single(file.Notes).Names));
    }

    [Fact]
    public void PeftFolder_WithSuchNumbers_IsToldAndStrictlyRefused()
    {
        LoraConversion.Convert(Lora(1), _folder.In("peft"), new LoraWriting { Kind = LoraFileKind.Peft });
        var weights = _folder.In("peft", "unet", PeftFolder.WeightsName);
        var tensors = SafetensorsFile.LoadAll(weights);
        tensors[$"base_model.model.{Module}.lora_B.weight"].fill_(float.NaN);
        SafetensorsFile.Write(weights, tensors);

        PeftFolder.Read(_folder.In("peft", "unet")).Dispose();

        Assert.Contains(Module, _told.ToString());
        Assert.Throws<InvalidDataException>(() => PeftFolder.Read(_folder.In("peft", "unet"), strict: true));
    }

    [Theory]
    [InlineData(LoraFileKind.Kohya)]
    [InlineData(LoraFileKind.Diffusers)]
    [InlineData(LoraFileKind.Peft)]
    public void Convert_ThatWouldOverflow_IsRefusedWithTheRemedy(LoraFileKind kind)
    {
        var path = Lora(1e5f);

        var message = Assert.Throws<ArgumentException>(() => LoraConversion.Convert(path, _folder.In("half"), new LoraWriting { Kind = kind, DType = ScalarType.Float16 })).Message;

        Assert.Contains($"{Module}.lora_B.weight (up to 1E+05, Float16)", message);
        Assert.Contains("bf16 or fp32", message);
        Assert.False(Path.Exists(_folder.In("half")));
        LoraConversion.Convert(path, _folder.In("brain"), new LoraWriting { Kind = kind, DType = ScalarType.BFloat16 });
        Assert.True(Path.Exists(_folder.In("brain")));
    }

    [Fact]
    public void Convert_ResizeMergeAndSave_OfSuchNumbers_WriteNothing()
    {
        var path = Lora(float.NaN);
        using var lora = StableDiffusionLora.Load(_pipeline, path);

        Assert.Throws<InvalidDataException>(() => LoraConversion.Convert(path, _folder.In("out"), new LoraWriting()));
        Assert.Throws<InvalidDataException>(() => LoraResizing.Resize(path, _folder.In("out"), new RankChoice { Rank = 1 }));
        Assert.Throws<InvalidDataException>(() => LoraMerging.Merge([(path, 1)], _folder.In("out")));
        Assert.Throws<InvalidDataException>(() => lora.SaveKohya(_folder.In("out")));
        Assert.Throws<InvalidDataException>(() => lora.SavePeft(_folder.In("out")));
        Assert.Throws<InvalidDataException>(() => lora.SaveDiffusers(_folder.In("out")));
        Assert.Throws<InvalidOperationException>(lora.Merge);
        Assert.False(Path.Exists(_folder.In("out")));
    }

    [Fact]
    public void MergedModel_ThatWouldOverflow_IsRefusedBeforeAnythingIsWritten()
    {
        _pipeline.Save(_folder.In("base"));

        var message = Assert.Throws<ArgumentException>(() => MergedModel.Write(_folder.In("base"), [(Lora(1e6f), 1)], _folder.In("merged"), ScalarType.Float16)).Message;

        Assert.Contains(Module, message);
        Assert.False(Path.Exists(_folder.In("merged")));
        MergedModel.Write(_folder.In("base"), [(Lora(1e6f), 1)], _folder.In("merged"), ScalarType.BFloat16);
        Assert.DoesNotContain("not finite", _told.ToString());
    }

    [Fact]
    public void LoadingAModel_WithSuchWeights_NamesThem()
    {
        _pipeline.UNet.Save(_folder.In("unet"));
        var path = Directory.GetFiles(_folder.In("unet"), "*.safetensors").Single();
        var tensors = SafetensorsFile.LoadAll(path);
        tensors["conv_in.bias"].fill_(float.NaN);
        tensors["conv_out.bias"].fill_(1e6f);
        SafetensorsFile.Write(path, tensors);

        UNet2DConditionModel.FromFolder(_folder.In("unet")).Dispose();
        Assert.Contains("1 weight of UNet2DConditionModel not finite as Float32", _told.ToString());
        UNet2DConditionModel.FromFolder(_folder.In("unet"), ScalarType.Float16).Dispose();

        Assert.Contains("2 weights of UNet2DConditionModel not finite as Float16", _told.ToString());
        Assert.Contains("BFloat16", _told.ToString());
        Assert.Contains("conv_in.bias", _told.ToString());
    }

    [Fact]
    public void Decode_OfWhatIsNotFinite_IsNoBlackPicture()
    {
        Assert.Contains("autoencoder", Assert.Throws<NotFiniteException>(() => _pipeline.Decode(full(1, 3, 8, 8, float.PositiveInfinity))).Message);
        Assert.Contains("finite", Assert.Throws<ArgumentException>(() => RgbImage.FromTensor(full(3, 2, 2, float.NaN))).Message);
    }

    [Theory]
    [InlineData(ScalarType.Float16)]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.Float64)]
    public void Finite_OfEveryFloat_SeesOneNumberAmongMany(ScalarType type)
    {
        var numbers = arange(-500, 500, type);
        Assert.True(LoraNotebooks.Tensors.Finite.Is(numbers));
        foreach (var number in new[] { double.NaN, double.PositiveInfinity, double.NegativeInfinity })
        {
            var one = numbers.clone();
            one[321] = number;
            Assert.False(LoraNotebooks.Tensors.Finite.Is(one));
        }

        Assert.True(LoraNotebooks.Tensors.Finite.Is(empty(0, type)));
        Assert.True(LoraNotebooks.Tensors.Finite.Is(ones(3, ScalarType.Int64)));
    }

    /// <summary>A LoRA on one projection, one number of whose B is given.</summary>
    private string Lora(float number)
    {
        var path = _folder.In($"{Guid.NewGuid():N}.safetensors");
        using var lora = StableDiffusionLora.Create(_pipeline, "made", new LoraConfig { Rank = 2, TargetModules = ["attn1.to_q"] }, null, seed: 1);
        lora.SaveKohya(path);
        var tensors = SafetensorsFile.LoadAll(path);
        tensors[$"lora_unet_{Module.Replace('.', '_')}.lora_up.weight"][1, 0] = number;
        SafetensorsFile.Write(path, tensors);
        return path;
    }
}
