Console.WriteLine(TorchSharp.torch.randn(2, 2).mm(TorchSharp.torch.randn(2, 2)).ToString(TorchSharp.TensorStringStyle.Julia));
Console.WriteLine(LoraNotebooks.Tensors.NativeRuntime.Load());
